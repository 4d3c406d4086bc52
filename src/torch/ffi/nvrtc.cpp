// Kernels of ours for GPUs, compiled for the GPU at hand by NVRTC, which comes with libtorch. Needs
// CUDA's headers (WNINIT_CUDA), and neither links NVRTC nor the CUDA runtime: libtorch has loaded them.

#include <cstdint>
#include <cstring>

#ifdef WNINIT_CUDA

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

template <class F>
F* function(const char* name, void* library = RTLD_DEFAULT) {
  void* found = dlsym(library, name);
  if (!found) throw std::runtime_error(std::string(name) + " is not there");
  return reinterpret_cast<F*>(found);
}

// Calls a function of the CUDA runtime.
#define CUDA(name, ...)                                                                        \
  if (cudaError_t error = function<decltype(name)>(#name)(__VA_ARGS__); error != cudaSuccess) {  \
    auto text = function<decltype(cudaGetErrorString)>("cudaGetErrorString");                    \
    throw std::runtime_error(std::string("CUDA error in " #name ": ") + text(error));           \
  }

// Python's packages have it in a folder of its own beside torch. There NVRTC does not find its own
// second library, unless that is loaded already.
void* nvrtc() {
  static void* library = [] {
    void* found = dlopen("libnvrtc.so.13", RTLD_NOW);
    Dl_info torch{};
    if (!found && dladdr(reinterpret_cast<void*>(&c10::cuda::getCurrentCUDAStream), &torch)) {
      std::string folder(torch.dli_fname);
      folder = folder.substr(0, folder.rfind('/') + 1) + "../../nvidia/cu13/lib/";
      dlopen((folder + "libnvrtc-builtins.so.13.0").c_str(), RTLD_NOW);
      found = dlopen((folder + "libnvrtc.so.13").c_str(), RTLD_NOW);
    }
    return found;
  }();
  if (!library) throw std::runtime_error("libnvrtc.so.13 is not there");
  return library;
}

#define NVRTC(name) function<decltype(name)>(#name, nvrtc())

// Machine code of `source` for compute capability `capability`, such as 90.
std::vector<char> compiled(const char* source, int capability, bool bf16) {
  nvrtcProgram program;
  if (NVRTC(nvrtcCreateProgram)(&program, source, "wninit.cu", 0, nullptr, nullptr)) {
    throw std::runtime_error("NVRTC cannot start");
  }
  std::string target = "--gpu-architecture=sm_" + std::to_string(capability);
  std::vector<const char*> options{target.c_str(), "--std=c++17"};
  if (bf16) options.push_back("-DBF16");
  auto result = NVRTC(nvrtcCompileProgram)(program, static_cast<int>(options.size()), options.data());
  size_t size = 0;
  if (result != NVRTC_SUCCESS) {
    NVRTC(nvrtcGetProgramLogSize)(program, &size);
    std::string log(size, ' ');
    NVRTC(nvrtcGetProgramLog)(program, log.data());
    NVRTC(nvrtcDestroyProgram)(&program);
    throw std::runtime_error("NVRTC does not compile our kernel: " + log);
  }
  NVRTC(nvrtcGetCUBINSize)(program, &size);
  std::vector<char> code(size);
  NVRTC(nvrtcGetCUBIN)(program, code.data());
  NVRTC(nvrtcDestroyProgram)(&program);
  return code;
}

// The kernel for the current GPU, compiled the first time.
cudaKernel_t kernel(const char* source, const char* name, bool bf16) {
  static std::mutex lock;
  static std::map<std::pair<int, bool>, cudaKernel_t> known;
  int gpu, major, minor;
  CUDA(cudaGetDevice, &gpu);
  std::lock_guard held(lock);
  auto [entry, is_new] = known.try_emplace({gpu, bf16});
  if (is_new) try {
    CUDA(cudaDeviceGetAttribute, &major, cudaDevAttrComputeCapabilityMajor, gpu);
    CUDA(cudaDeviceGetAttribute, &minor, cudaDevAttrComputeCapabilityMinor, gpu);
    if (major < 9) throw std::runtime_error("our kernel is for GPUs of compute capability 9.0 and later");
    auto code = compiled(source, 10 * major + minor, bf16);
    cudaLibrary_t library;
    CUDA(cudaLibraryLoadData, &library, code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0);
    CUDA(cudaLibraryGetKernel, &entry->second, library, name);
  } catch (...) {
    known.erase(entry);
    throw;
  }
  return entry->second;
}

// As in sgd_weight_norm.cu.
struct Layers {
  void *v, *v_momentum, *g, *g_momentum, *b, *b_momentum, *norms, *w, *dw, *db;
  void *lr, *momentum, *weight_decay;
  int units, inputs, positions, w_channels_last, dw_channels_last;
};

} // namespace

extern "C" {

// Tensors in the order of Layers' pointers; weight_decay may be null. The caller has checked them.
char* wninit_sgd_weight_norm(const char* source, const at::Tensor* const* tensors,
                             bool w_channels_last, bool dw_channels_last) {
  try {
    Layers layers{};
    void** pointers = reinterpret_cast<void**>(&layers);
    for (int i = 0; i < 13; i++) {
      pointers[i] = tensors[i] ? tensors[i]->mutable_data_ptr() : nullptr;
    }
    const at::Tensor& v = *tensors[0];
    int64_t units = v.size(0) * v.size(1), size = v.numel() / units;
    layers.units = static_cast<int>(v.size(1));
    layers.inputs = static_cast<int>(v.size(2));
    layers.positions = static_cast<int>(size / v.size(2));
    layers.w_channels_last = w_channels_last;
    layers.dw_channels_last = dw_channels_last;
    // A warp for every 32 elements, up to eight.
    auto threads = static_cast<unsigned>(std::clamp<int64_t>((size + 31) / 32 * 32, 32, 256));
    void* arguments[] = {&layers};
    auto run = kernel(source, "sgd_weight_norm", tensors[7]->scalar_type() == at::kBFloat16);
    auto stream = c10::cuda::getCurrentCUDAStream(v.get_device()).stream();
    auto launch = function<cudaError_t(const void*, dim3, dim3, void**, size_t, cudaStream_t)>(
        "cudaLaunchKernel");
    cudaError_t error = launch(reinterpret_cast<const void*>(run), dim3(static_cast<unsigned>(units)),
                               dim3(threads), arguments, 0, stream);
    if (error != cudaSuccess) {
      auto text = function<decltype(cudaGetErrorString)>("cudaGetErrorString");
      throw std::runtime_error(std::string("CUDA error in our kernel: ") + text(error));
    }
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}

// Compiles the kernel for that compute capability, for tests.
char* wninit_compile(const char* source, int capability, bool bf16) {
  try {
    compiled(source, capability, bf16);
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}

} // extern "C"

#else

static char* no_cuda() { return strdup("the program was built without CUDA's headers"); }
extern "C" char* wninit_sgd_weight_norm(const char*, const void* const*, bool, bool) {
  return no_cuda();
}
extern "C" char* wninit_compile(const char*, int, bool) { return no_cuda(); }

#endif
