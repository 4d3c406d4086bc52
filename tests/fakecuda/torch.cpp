// Convolutions in the place of libtorch's calls of cuDNN, and libtorch's account of its memory.
// Checks and layouts are those of ATen's aten/src/ATen/native/cudnn/ConvShared.cpp.
#include "fake.h"

#include <ATen/ATen.h>
#include <ATen/native/ConvUtils.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <atomic>
#include <cstring>
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
    static std::atomic<unsigned long long> count{0};
    const char* how = fake_injected("FAKE_OOM_CUDNN", ++count);
    if (!how) return;
    fake::injected("convolution " + std::to_string(count) + " fails");
    TORCH_CHECK(strcmp(how, "alloc") != 0, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED");
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

static std::tuple<Tensor, Tensor> backward(const Tensor& input, const Tensor& grad,
                                           const Tensor& weight, IntArrayRef, IntArrayRef,
                                           IntArrayRef, int64_t groups, bool benchmark, bool,
                                           bool tf32, std::array<bool, 2> wanted) {
    Tensor dx, dw, dy = grad.to(input.suggest_memory_format());
    auto kind = input.scalar_type();
    tf32 = tf32 && kind == kFloat;
    auto sizes = [&](const char* what, MemoryFormat layout) {
        return Call{what, input.sizes(), weight.sizes(), kind, layout, groups, benchmark, tf32};
    };
    if (wanted[0]) {
        auto layout = cudnn_conv_suggest_memory_format(dy, weight);
        auto y = dy.contiguous(layout), w = weight.contiguous(layout);
        dx = at::empty(input.sizes(), dy.options().memory_format(layout));
        run(sizes("input gradient", layout), y, w, dx);
    }
    if (wanted[1]) {
        auto layout = cudnn_conv_suggest_memory_format(input, dy);
        auto y = dy.contiguous(layout), x = input.contiguous(layout);
        dw = at::empty(weight.sizes(), dy.options().memory_format(layout));
        run(sizes("weight gradient", layout), y, x, dw);
    }
    return {dx, dw};
}

// After libtorch's own, because libtorch is loaded first.
REGISTER_CUDA_DISPATCH(cudnn_convolution_backward_stub, &backward)

} // namespace at::native

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
