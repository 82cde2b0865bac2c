/* libnvidia-ml.so.1 for the same machine, as nvml.h declares it. */
#include <stdlib.h>
#include <string.h>

typedef struct device { int index; } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;

static struct device device;

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *handle)
{
    if (strcmp(uuid, "GPU-abababab-abab-abab-abab-ababababab00"))
        return 6;
    *handle = &device;
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *handle)
{
    (void)index;
    *handle = &device;
    return 0;
}
int nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory)
{
    if (handle != &device)
        abort();
    *memory = (nvmlMemory_t){15835660288ULL, 15720000000ULL, 115660288ULL};
    return 0;
}
