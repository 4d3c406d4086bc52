// libcuda.so.1, as far as libtorch and NVRTC's kernels need it. A module's functions are told apart
// by their names; each is a node of that name.
#include "fake.h"

#include <cuda.h>

#include <string>

extern "C" {

// The driver's compiler and what else it exports by number. NVRTC asks for it after cuInit.
CUresult cuGetExportTable(const void** table, const CUuuid*) {
    *table = nullptr;
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }

static CUcontext context() {
    static char there;
    return reinterpret_cast<CUcontext>(&there);
}

CUresult cuCtxGetCurrent(CUcontext* out) {
    *out = context();
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

CUresult cuDeviceGet(CUdevice* device, int index) {
    *device = index;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    cudaDeviceGetAttribute(value, static_cast<cudaDeviceAttr>(attribute), device);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) {
    *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice) {
    *out = context();
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult, const char** text) {
    *text = "error of the pretend CUDA driver";
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void*) {
    *module = reinterpret_cast<CUmodule>(new char);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
    return cuModuleLoadData(module, image);
}

CUresult cuModuleUnload(CUmodule module) {
    delete reinterpret_cast<char*>(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
    *function = reinterpret_cast<CUfunction>(new std::string(name));
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) {
    *value = 0;
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int threads, size_t) {
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, nullptr, threads, 0);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, unsigned, CUstream stream, void**, void**) {
    fake_launch(stream, reinterpret_cast<std::string*>(function)->c_str(), nullptr, 0);
    return CUDA_SUCCESS;
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned,
                                   unsigned, unsigned, unsigned, CUstream stream, void**) {
    fake_launch(stream, reinterpret_cast<std::string*>(function)->c_str(), nullptr, 0);
    return CUDA_SUCCESS;
}
}
