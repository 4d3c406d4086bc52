// Convolutions in the place of libtorch's calls of cuDNN, and libtorch's account of its memory.
// Checks and layouts are those of ATen's aten/src/ATen/native/cudnn/ConvShared.cpp.
#include "fake.h"

#include <ATen/ATen.h>
#include <ATen/native/ConvUtils.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <sstream>

using at::IntArrayRef;
using at::Tensor;

namespace at::cuda {
void clearCublasWorkspaces(); // its header needs all of CUDA's libraries
}

namespace {

// A convolution as cuDNN's cache of plans tells it from others.
struct Call {
    const char* what;
    IntArrayRef x, w;
    at::ScalarType kind;
    at::MemoryFormat layout;
    int64_t groups;
    bool benchmark, tf32;

    std::string text() const {
        std::ostringstream text;
        text << "cudnn " << what << (layout == at::MemoryFormat::ChannelsLast ? " nhwc " : " nchw ")
             << kind << (tf32 ? " tf32 " : " ") << x << " " << w;
        if (groups > 1) text << " grouped " << groups;
        return text.str();
    }
};

// The alignment of a tensor, on which plans depend, too.
std::string alignment(const Tensor& tensor) {
    auto address = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
    int aligned = 1;
    while (aligned < 32 && address % (aligned * 2) == 0) aligned *= 2;
    return " " + std::to_string(aligned);
}

// What libtorch reports when each of cuDNN's engines has failed, or cuDNN itself.
void fail_if_injected() {
    static const fake::At failing("FAKE_OOM_CUDNN");
    unsigned long long count;
    {
        fake::Lock lock(fake::state().mutex);
        count = ++fake::state().convolutions;
    }
    auto how = failing(count);
    if (!how) return;
    fake::injected("convolution " + std::to_string(count) + " fails");
    TORCH_CHECK(*how != "alloc", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED");
    TORCH_CHECK(false, "FIND was unable to find an engine to execute this computation");
}

void run(const Call& call, const Tensor& a, const Tensor& b, const Tensor& c) {
    fail_if_injected();
    auto stream = c10::cuda::getCurrentCUDAStream(a.get_device()).stream();
    auto name = call.text();
    // libtorch's cache of plans belongs to a thread.
    thread_local std::set<std::string> planned;
    if (planned.insert(name + alignment(a) + alignment(b) + alignment(c)).second) {
        fake_search(stream, name.c_str());
        if (call.benchmark) c10::cuda::CUDACachingAllocator::emptyCache();
    }
    auto workspace = at::empty({1 << 20}, a.options().dtype(at::kByte));
    const void* memory[]{a.const_data_ptr(), b.const_data_ptr(), c.const_data_ptr()};
    fake_launch(stream, name.c_str(), memory, 3);
}

} // namespace

namespace at::native {

Tensor& cudnn_convolution_out(const Tensor& input, const Tensor& weight, IntArrayRef, IntArrayRef,
                              IntArrayRef, int64_t groups, bool benchmark, bool, bool tf32,
                              Tensor& output) {
    auto layout = cudnn_conv_suggest_memory_format(input, weight);
    auto x = input.contiguous(layout), w = weight.contiguous(layout);
    bool direct = output.is_contiguous(layout);
    auto y = direct ? output : at::empty_like(output, output.options().memory_format(layout));
    tf32 = tf32 && x.scalar_type() == kFloat;
    run({"forward", x.sizes(), w.sizes(), x.scalar_type(), layout, groups, benchmark, tf32}, x, w,
        y);
    if (!direct) output.copy_(y);
    return output;
}

Tensor cudnn_convolution(const Tensor& input, const Tensor& weight, IntArrayRef padding,
                         IntArrayRef stride, IntArrayRef dilation, int64_t groups, bool benchmark,
                         bool deterministic, bool tf32) {
    auto layout = cudnn_conv_suggest_memory_format(input, weight);
    auto size = conv_output_size(input.sizes(), weight.sizes(), padding, stride, dilation);
    auto output = at::empty(size, input.options().memory_format(layout));
    return cudnn_convolution_out(input, weight, padding, stride, dilation, groups, benchmark,
                                 deterministic, tf32, output);
}

// The gradient of a convolution's input, which is what a transposed convolution is.
static Tensor input_gradient(const Tensor& grad, const Tensor& weight, IntArrayRef size,
                             int64_t groups, bool benchmark, bool tf32) {
    auto layout = cudnn_conv_suggest_memory_format(grad, weight);
    auto dy = grad.contiguous(layout), w = weight.contiguous(layout);
    auto dx = at::empty(size, dy.options().memory_format(layout));
    auto kind = dy.scalar_type();
    tf32 = tf32 && kind == kFloat;
    run({"input gradient", size, w.sizes(), kind, layout, groups, benchmark, tf32}, dy, w, dx);
    return dx;
}

Tensor cudnn_convolution_transpose(const Tensor& input, const Tensor& weight, IntArrayRef padding,
                                   IntArrayRef output_padding, IntArrayRef stride,
                                   IntArrayRef dilation, int64_t groups, bool benchmark, bool,
                                   bool tf32) {
    auto size = conv_input_size(input.sizes(), weight.sizes(), padding, output_padding, stride,
                                dilation, groups);
    return input_gradient(input, weight, size, groups, benchmark, tf32);
}

static std::tuple<Tensor, Tensor> backward(const Tensor& input, const Tensor& grad,
                                           const Tensor& weight, IntArrayRef, IntArrayRef,
                                           IntArrayRef, int64_t groups, bool benchmark, bool,
                                           bool tf32, std::array<bool, 2> wanted) {
    Tensor dx, dw, dy = grad.to(input.suggest_memory_format());
    if (wanted[0]) dx = input_gradient(dy, weight, input.sizes(), groups, benchmark, tf32);
    if (wanted[1]) {
        auto layout = cudnn_conv_suggest_memory_format(input, dy);
        auto y = dy.contiguous(layout), x = input.contiguous(layout);
        dw = at::empty(weight.sizes(), dy.options().memory_format(layout));
        auto kind = x.scalar_type();
        tf32 = tf32 && kind == kFloat;
        run({"weight gradient", x.sizes(), dw.sizes(), kind, layout, groups, benchmark, tf32}, y,
            x, dw);
    }
    return {dx, dw};
}

// After libtorch's own, because libtorch is loaded first.
REGISTER_CUDA_DISPATCH(cudnn_convolution_backward_stub, &backward)

} // namespace at::native

// ---- libtorch's registry of graphs: a graph that begins its capture enters a set of the device's
// default generator, and one that is destroyed leaves it. There is no lock.

static std::atomic<int> in_registry[64];

template <class Call> static void in_the_registry(const char* what, int device, Call&& call) {
    auto& threads = in_registry[device];
    if (threads++ > 0) fake::violation("race", std::string(what) + " while another thread does so");
    usleep(200); // so that threads that may meet do
    try {
        call();
    } catch (...) {
        threads--;
        throw;
    }
    threads--;
}

template <class F> static F real(const char* name) {
    auto found = reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
    if (!found) abort();
    return found;
}

#define GRAPH_BEGIN "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode"
// Of a graph, and of one that is a part of another class.
#define GRAPH_DESTROYED "_ZN2at4cuda9CUDAGraphD1Ev"
#define PART_DESTROYED "_ZN2at4cuda9CUDAGraphD2Ev"

using Pool = std::pair<unsigned long long, unsigned long long>;
extern "C" void graph_begin(void* graph, Pool pool, cudaStreamCaptureMode mode) asm(GRAPH_BEGIN);
extern "C" void graph_destroyed(void* graph) asm(GRAPH_DESTROYED);
extern "C" void part_destroyed(void* graph) asm(PART_DESTROYED);

// The device of each graph, guarded by the state's mutex.
static std::map<void*, int>& devices() {
    static auto* devices = new std::map<void*, int>;
    return *devices;
}

void graph_begin(void* graph, Pool pool, cudaStreamCaptureMode mode) {
    int device = fake::current_device();
    {
        fake::Lock lock(fake::state().mutex);
        devices()[graph] = device;
    }
    in_the_registry("CUDAGraph::capture_begin", device, [&] {
        real<decltype(&graph_begin)>(GRAPH_BEGIN)(graph, pool, mode);
    });
}

void graph_destroyed(void* graph) {
    int device = 0;
    {
        fake::Lock lock(fake::state().mutex);
        auto known = devices().find(graph);
        if (known != devices().end()) device = known->second;
        devices().erase(graph);
    }
    in_the_registry("~CUDAGraph", device, [&] {
        real<decltype(&graph_destroyed)>(GRAPH_DESTROYED)(graph);
    });
}

void part_destroyed(void* graph) { graph_destroyed(graph); }

// ---- memory

// What libtorch has handed out, once it has given back all that it keeps for later.
static size_t allocated() {
    namespace allocator = c10::cuda::CUDACachingAllocator;
    if (!allocator::get()->initialized()) return 0;
    at::cuda::clearCublasWorkspaces();
    allocator::emptyCache();
    size_t bytes = 0;
    int devices = 0;
    if (cudaGetDeviceCount(&devices)) return 0;
    for (int device = 0; device < devices; device++) {
        constexpr auto ALL = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        bytes += allocator::getDeviceStats(device).allocated_bytes[ALL].current;
    }
    return bytes;
}

__attribute__((constructor)) static void start() { fake_allocated_is(allocated); }
