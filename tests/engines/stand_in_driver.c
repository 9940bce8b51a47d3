/* The few calls of CUDA's driver that an engine makes through pycuda, in host memory.
   What is queued is done at once. test_pycuda.py adds all other symbols that pycuda links. */

#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201 };
enum { LARGEST = 1 << 30, DEPTH = 64 };

static void *stack[DEPTH];
static int depth;
static int context;

int cuInit(unsigned flags) { return SUCCESS; }
int cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
int cuGetErrorString(int status, const char **text) { *text = "on purpose"; return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return SUCCESS; }

int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, "NVIDIA Imaginary", size);
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : 9;
    return SUCCESS;
}

int cuDeviceComputeCapability(int *major, int *minor, int device) {
    *major = 8;
    *minor = 9;
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void **made, int device) { *made = &context; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }

int cuCtxPushCurrent_v2(void *pushed) {
    if (depth == DEPTH) return INVALID_VALUE;
    stack[depth++] = pushed;
    return SUCCESS;
}

int cuCtxPopCurrent_v2(void **popped) {
    if (!depth) return INVALID_CONTEXT;
    void *top = stack[--depth];
    if (popped) *popped = top;
    return SUCCESS;
}

int cuCtxGetDevice(int *device) { *device = 0; return depth ? SUCCESS : INVALID_CONTEXT; }
int cuCtxSynchronize(void) { return depth ? SUCCESS : INVALID_CONTEXT; }

int cuMemGetInfo_v2(size_t *available, size_t *total) {
    *available = *total = LARGEST;
    return depth ? SUCCESS : INVALID_CONTEXT;
}

static int take(void **address, size_t size) {
    if (!depth) return INVALID_CONTEXT;
    if (size > LARGEST) return OUT_OF_MEMORY;
    *address = aligned_alloc(256, (size + 255) / 256 * 256);
    return SUCCESS;
}

int cuMemAlloc_v2(void **address, size_t size) { return take(address, size); }
int cuMemHostAlloc(void **address, size_t size, unsigned flags) { return take(address, size); }
int cuMemFree_v2(void *address) { free(address); return SUCCESS; }
int cuMemFreeHost(void *address) { free(address); return SUCCESS; }

int cuStreamCreate(void **stream, unsigned flags) {
    *stream = malloc(1);
    return depth ? SUCCESS : INVALID_CONTEXT;
}

int cuStreamDestroy_v2(void *stream) { free(stream); return SUCCESS; }
int cuStreamSynchronize(void *stream) { return depth ? SUCCESS : INVALID_CONTEXT; }

int cuMemcpyHtoDAsync_v2(void *target, const void *source, size_t size, void *stream) {
    memcpy(target, source, size);
    return SUCCESS;
}

int cuMemcpyDtoHAsync_v2(void *target, const void *source, size_t size, void *stream) {
    memcpy(target, source, size);
    return SUCCESS;
}
