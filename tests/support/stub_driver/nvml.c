/* libnvidia-ml.so.1 for the same machine, as nvml.h declares it. */
#include <stdio.h>
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
    /* The file that STUB_USED names has the bytes that a program takes at this moment. */
    const char *path = getenv("STUB_USED");
    FILE *file = path ? fopen(path, "r") : NULL;
    unsigned long long used = 0;
    if (file) {
        if (fscanf(file, "%llu", &used) != 1)
            used = 0;
        fclose(file);
    }
    *memory = (nvmlMemory_t){15835660288ULL, 15720000000ULL - used, 115660288ULL + used};
    return 0;
}
