/* libcuda.so.1 of a machine with one T4, as cuda.h declares it. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int CUdevice;
typedef struct { char bytes[16]; } CUuuid;

int cuInit(unsigned int flags)
{
    (void)flags;
    fputs("words of the driver's own", stdout); /* and no end of line */
    fflush(stdout);
    if (getenv("STUB_HANGS"))
        sleep(1000);
    return 0;
}
int cuGetErrorName(int error, const char **name) { (void)error; *name = NULL; return 0; }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, CUdevice device)
{
    (void)device;
    strncpy(name, "Tesla T4", size);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) { (void)device; *bytes = 15835660288UL; return 0; }
int cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    memset(uuid, 0xab, sizeof *uuid);
    uuid->bytes[15] = device;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    (void)device;
    *value = attribute == 75 ? 7 : attribute == 76 ? 5 : -1;
    return 0;
}

/* Memory: while a process holds some, the file that STUB_FILLED names exists. */
static void emptied(void) { remove(getenv("STUB_FILLED")); }
int cuDevicePrimaryCtxRetain(void **context, CUdevice device)
{
    (void)device;
    *context = NULL;
    return 0;
}
int cuCtxSetCurrent(void *context) { (void)context; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total)
{
    *free = 15720000000UL;
    *total = 15835660288UL;
    return 0;
}
int cuMemAlloc_v2(unsigned long long *address, size_t bytes)
{
    const char *path = getenv("STUB_FILLED");
    FILE *file = path ? fopen(path, "w") : NULL;
    *address = 0;
    if (!file)
        return 2; /* CUDA_ERROR_OUT_OF_MEMORY */
    fprintf(file, "%zu", bytes);
    fclose(file);
    atexit(emptied);
    return 0;
}
