// What tch does not offer of libtorch: kernels whose signature holds a bool array, and flags.
// Tensors cross as tch's own handles (pointers to at::Tensor). No exception leaves this file:
// each function returns nullptr or a message that the caller frees with wninit_free.

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/native_batch_norm_backward.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>

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

// Gradients of batch normalisation with batch statistics: out = {dx, dweight, dbias}.
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

// Flushes denormal numbers to zero on the calling thread; false if the CPU cannot.
bool wninit_flush_denormals(bool flush) { return at::globalContext().setFlushDenormal(flush); }

} // extern "C"
