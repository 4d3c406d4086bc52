// The part of libtorch's API that tch lacks: kernels with a bool array in their signature, flags,
// CUDA streams and graphs. Graphs need CUDA's headers (WNINIT_CUDA); streams do not.
// Tensors are passed as tch's handles (pointers to at::Tensor). No exception leaves this file:
// each function returns nullptr or a message that the caller frees with wninit_free.

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#ifdef WNINIT_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

namespace {

at::Tensor* handle(const at::Tensor& tensor) {
  return tensor.defined() ? new at::Tensor(tensor) : nullptr;
}

template <class F>
char* guarded(F&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

constexpr auto GPU = c10::DeviceType::CUDA;

// Streams besides the one that forks them.
struct Lanes {
  c10::Stream home;
  std::vector<c10::Stream> streams;

  Lanes(c10::DeviceIndex gpu, int64_t count) : home(home_of(gpu)) {
    c10::impl::VirtualGuardImpl impl(GPU);
    for (int64_t i = 0; i < count; i++) {
      streams.push_back(impl.getStreamFromGlobalPool(home.device()));
    }
  }

  static c10::Stream home_of(c10::DeviceIndex gpu) {
    return c10::impl::VirtualGuardImpl(GPU).getStream(c10::Device(GPU, gpu));
  }
};

void enter(const c10::Stream& stream) { c10::impl::VirtualGuardImpl(GPU).exchangeStream(stream); }

} // namespace

extern "C" {

void wninit_free(char* message) { std::free(message); }

// Gradients of a 2-d convolution: out = {dx, dw, db}, each null where its mask bit (1, 2, 4) is 0.
char* wninit_convolution_backward(at::Tensor** out, const at::Tensor* dy, const at::Tensor* x,
                                  const at::Tensor* w, int64_t stride, int64_t padding,
                                  int64_t groups, int mask) {
  return guarded([&] {
    int64_t bias = dy->size(1);
    auto [dx, dw, db] = at::convolution_backward(
        *dy, *x, *w, at::OptionalIntArrayRef(at::IntArrayRef(&bias, 1)), {stride, stride},
        {padding, padding}, {1, 1}, false, {0, 0}, groups,
        {(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0});
    out[0] = handle(dx);
    out[1] = handle(dw);
    out[2] = handle(db);
  });
}

// Gradients of batch norm with batch statistics: out = {dx, dweight, dbias}.
char* wninit_batch_norm_backward(at::Tensor** out, const at::Tensor* dy, const at::Tensor* x,
                                 const at::Tensor* weight, const at::Tensor* save_mean,
                                 const at::Tensor* save_invstd, double eps) {
  return guarded([&] {
    auto [dx, dweight, dbias] = at::native_batch_norm_backward(
        *dy, *x, *weight, std::nullopt, std::nullopt, *save_mean, *save_invstd,
        /*train=*/true, eps, {true, true, true});
    out[0] = handle(dx);
    out[1] = handle(dweight);
    out[2] = handle(dbias);
  });
}

// Whether fp32 products may round their inputs to TF32 on a GPU (both cuBLAS and cuDNN).
void wninit_allow_tf32(bool allow) {
  at::globalContext().setAllowTF32CuBLAS(allow);
  at::globalContext().setAllowTF32CuDNN(allow);
}

// Whether oneDNN has native bf16 kernels for this CPU.
bool wninit_native_bf16() {
  try {
    auto op = c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_bf16_supported", ""});
    return op.has_value() && op->typed<bool()>().call();
  } catch (...) {
    return false;
  }
}

void wninit_benchmark_cudnn(bool benchmark) {
  at::globalContext().setBenchmarkCuDNN(benchmark);
}

// Makes the calling thread launch on a stream of its own, on this GPU.
char* wninit_own_stream(int gpu) {
  return guarded([&] {
    c10::Device device(GPU, static_cast<c10::DeviceIndex>(gpu));
    c10::impl::VirtualGuardImpl impl(GPU);
    impl.setDevice(device);
    impl.exchangeStream(impl.getStreamFromGlobalPool(device));
  });
}

// Waits for all that the calling thread has launched on its current stream.
char* wninit_synchronize(int gpu) {
  return guarded([&] {
    c10::impl::VirtualGuardImpl(GPU).synchronizeStream(Lanes::home_of(static_cast<c10::DeviceIndex>(gpu)));
  });
}

char* wninit_lanes_new(void** out, int gpu, int64_t count) {
  return guarded([&] { *out = new Lanes(static_cast<c10::DeviceIndex>(gpu), count); });
}

void wninit_lanes_free(void* lanes) { delete static_cast<Lanes*>(lanes); }

// Makes the lanes wait for their home stream.
char* wninit_lanes_fork(const void* lanes) {
  return guarded([&] {
    auto& l = *static_cast<const Lanes*>(lanes);
    c10::Event now(GPU);
    now.record(l.home);
    for (auto& stream : l.streams) {
      now.block(stream);
    }
  });
}

// Makes the calling thread launch on lane `i`.
char* wninit_lanes_enter(const void* lanes, int64_t i) {
  return guarded([&] { enter(static_cast<const Lanes*>(lanes)->streams.at(i)); });
}

// Returns to the home stream and makes it wait for the lanes.
char* wninit_lanes_join(const void* lanes) {
  return guarded([&] {
    auto& l = *static_cast<const Lanes*>(lanes);
    enter(l.home);
    for (auto& stream : l.streams) {
      c10::Event done(GPU);
      done.record(stream);
      done.block(l.home);
    }
  });
}

bool wninit_has_graphs() {
#ifdef WNINIT_CUDA
  return true;
#else
  return false;
#endif
}

#ifdef WNINIT_CUDA

// A memory pool for graphs to share.
char* wninit_graph_memory(uint64_t* out) {
  return guarded([&] { std::tie(out[0], out[1]) = at::cuda::graph_pool_handle(); });
}

// Records what the calling thread launches until wninit_graph_end, without running it.
char* wninit_graph_begin(void** out, const uint64_t* pool) {
  return guarded([&] {
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    c10::cuda::CUDACachingAllocator::emptyCache();
    // Other threads (workers on other GPUs) may allocate meanwhile.
    graph->capture_begin({pool[0], pool[1]}, cudaStreamCaptureModeThreadLocal);
    *out = graph.release();
  });
}

char* wninit_graph_end(void* graph) {
  return guarded([&] { static_cast<at::cuda::CUDAGraph*>(graph)->capture_end(); });
}

char* wninit_graph_replay(void* graph) {
  return guarded([&] { static_cast<at::cuda::CUDAGraph*>(graph)->replay(); });
}

void wninit_graph_free(void* graph) { delete static_cast<at::cuda::CUDAGraph*>(graph); }

#else

static char* no_graphs() { return strdup("the program was built without CUDA's headers"); }
char* wninit_graph_memory(uint64_t*) { return no_graphs(); }
char* wninit_graph_begin(void**, const uint64_t*) { return no_graphs(); }
char* wninit_graph_end(void*) { return no_graphs(); }
char* wninit_graph_replay(void*) { return no_graphs(); }
void wninit_graph_free(void*) {}

#endif

// The instructions that ATen's kernels use: DEFAULT, AVX2 or AVX512.
char* wninit_cpu_capability() { return strdup(at::get_cpu_capability().c_str()); }

// Flushes denormal numbers to zero on the calling thread; false if the CPU cannot.
bool wninit_flush_denormals(bool flush) { return at::globalContext().setFlushDenormal(flush); }

} // extern "C"
