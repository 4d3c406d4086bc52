// Devices, their properties, and errors. A device is an H100 by its numbers.
#include "fake.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace fake {

static thread_local int device = 0;
static thread_local cudaError_t last = cudaSuccess;

int current_device() { return device; }

cudaError_t failed(cudaError_t error) {
    if (error) last = error;
    return error;
}

} // namespace fake

using namespace fake;

constexpr int THREADS_PER_SM = 2048, SMS = 132, MAJOR = 9, SHARED = 49152, SHARED_OPTIN = 232448;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
    *count = static_cast<int>(setting("FAKE_GPUS", 1));
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int* out) {
    *out = device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int to) {
    if (to < 0 || to >= setting("FAKE_GPUS", 1)) return failed(cudaErrorInvalidDevice);
    device = to;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "NVIDIA Pretend");
    p->totalGlobalMem = static_cast<size_t>(setting("FAKE_MB", 80 << 10)) << 20;
    p->sharedMemPerBlock = SHARED;
    p->sharedMemPerBlockOptin = SHARED_OPTIN;
    p->sharedMemPerMultiprocessor = SHARED_OPTIN + 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536;
    p->major = MAJOR;
    p->textureAlignment = 512;
    p->multiProcessorCount = SMS;
    p->maxThreadsPerMultiProcessor = THREADS_PER_SM;
    p->l2CacheSize = 50 << 20;
    p->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = SHARED; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = SHARED_OPTIN; break;
    case cudaDevAttrMultiProcessorCount: *value = SMS; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = THREADS_PER_SM; break;
    case cudaDevAttrComputeCapabilityMajor: *value = MAJOR; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    default: *value = 1; // features: there
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
    *can = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    auto error = last;
    last = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError() { return last; }

const char* cudaGetErrorString(cudaError_t error) {
    if (error == cudaErrorMemoryAllocation) return "out of memory";
    static thread_local char text[64];
    snprintf(text, sizeof text, "error %d of the pretend CUDA runtime", static_cast<int>(error));
    return text;
}

const char* cudaGetErrorName(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorPretend";
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, const void*) {
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024;
    a->numRegs = 32;
    a->ptxVersion = a->binaryVersion = 10 * MAJOR;
    a->maxDynamicSharedSizeBytes = SHARED_OPTIN;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          size_t) {
    *blocks = std::max(1, THREADS_PER_SM / std::max(threads, 1));
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* kernel,
                                                                   int threads, size_t shared,
                                                                   unsigned) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, kernel, threads, shared);
}

// libtorch asks for functions of the driver that it does not need here.
static int of_the_driver(...) { return 0; }

cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
    *function = reinterpret_cast<void*>(of_the_driver);
    if (result) *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
}
