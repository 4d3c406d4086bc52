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
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <mutex>
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

#ifdef WNINIT_CUDA

namespace allocator = c10::cuda::CUDACachingAllocator;

// The begin and end of a capture and the end of a graph change the default generator's list of
// graphs, which libtorch 2.11 does not lock.
std::mutex captures;

struct Graph : at::cuda::CUDAGraph {
  c10::MempoolId_t memory;
  c10::DeviceIndex gpu;

  Graph(c10::MempoolId_t memory, c10::DeviceIndex gpu) : memory(memory), gpu(gpu) {}

  // Undoes what capture_begin did where capture_end threw: libtorch 2.11 throws before it stops
  // allocating to the pool and before the generators stop recording, and never releases the pool.
  // Without this emptyCache would free nothing, and no failed allocation would be tried again.
  void abandon() {
    auto quietly = [](auto&& body) {
      try {
        body();
      } catch (const std::exception&) {
        // It got as far as that; ~CUDAGraph does the rest.
      }
    };
    quietly([&] {
      allocator::endAllocateToPool(gpu, memory);
      allocator::releasePool(gpu, memory);
    });
    quietly([&] {
      auto* host = at::getHostAllocator(GPU);
      host->end_allocate_to_pool(memory);
      host->release_pool(memory);
    });
    for (auto& [generator, increments] : captured_generator_states_) {
      generator->capturing_ = false;
    }
  }
};

#endif

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

// Makes the calling thread launch on a stream of its own, on this GPU. It is of high priority: there
// are 32 streams of each priority, handed out in turn, so that it is nobody's lane.
char* wninit_own_stream(int gpu) {
  return guarded([&] {
    c10::Device device(GPU, static_cast<c10::DeviceIndex>(gpu));
    c10::impl::VirtualGuardImpl impl(GPU);
    impl.setDevice(device);
    impl.exchangeStream(impl.getStreamFromGlobalPool(device, /*isHighPriority=*/true));
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
char* wninit_graph_begin(void** out, const uint64_t* pool, int gpu) {
  return guarded([&] {
    std::lock_guard lock(captures);
    c10::MempoolId_t memory{pool[0], pool[1]};
    auto graph = std::make_unique<Graph>(memory, static_cast<c10::DeviceIndex>(gpu));
    allocator::emptyCache();
    try {
      // Other threads (workers on other GPUs) may allocate meanwhile.
      graph->capture_begin(memory, cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      graph->abandon();
      throw;
    }
    *out = graph.release();
  });
}

char* wninit_graph_end(void* graph) {
  return guarded([&] {
    std::lock_guard lock(captures);
    try {
      static_cast<Graph*>(graph)->capture_end();
    } catch (...) {
      static_cast<Graph*>(graph)->abandon();
      throw;
    }
  });
}

char* wninit_graph_replay(void* graph) {
  return guarded([&] { static_cast<Graph*>(graph)->replay(); });
}

void wninit_graph_free(void* graph) {
  std::lock_guard lock(captures);
  delete static_cast<Graph*>(graph);
}

// Bytes that libtorch has from the GPU and that no tensor uses.
char* wninit_cached_memory(double* out, int gpu) {
  return guarded([&] {
    auto stats = allocator::getDeviceStats(static_cast<c10::DeviceIndex>(gpu));
    auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *out = static_cast<double>(stats.reserved_bytes[all].current - stats.allocated_bytes[all].current);
  });
}

#else

static char* no_graphs() { return strdup("the program was built without CUDA's headers"); }
char* wninit_graph_memory(uint64_t*) { return no_graphs(); }
char* wninit_graph_begin(void**, const uint64_t*, int) { return no_graphs(); }
char* wninit_graph_end(void*) { return no_graphs(); }
char* wninit_graph_replay(void*) { return no_graphs(); }
void wninit_graph_free(void*) {}
char* wninit_cached_memory(double*, int) { return no_graphs(); }

#endif

// The instructions that ATen's kernels use: DEFAULT, AVX2 or AVX512.
char* wninit_cpu_capability() { return strdup(at::get_cpu_capability().c_str()); }

// Flushes denormal numbers to zero on the calling thread; false if the CPU cannot.
bool wninit_flush_denormals(bool flush) { return at::globalContext().setFlushDenormal(flush); }

} // extern "C"
