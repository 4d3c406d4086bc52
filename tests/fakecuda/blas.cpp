// Products of cuBLAS, by name and size.
#include "fake.h"

// cuBLAS's headers include those of these types, which need CUDA's C++ library. Only pointers to
// them are needed.
#define __CUDA_FP16_H__
#define __CUDA_BF16_H__
struct __half;
struct __nv_bfloat16;

#include <cublasLt.h>
#include <cublas_v2.h>

#include <cstdlib>
#include <cstring>

using namespace fake;

struct cublasContext {
    cudaStream_t stream;
};

// A product [m, k] by [k, n], `batch` times.
static cublasStatus_t product(cublasHandle_t handle, const char* name, int m, int n, int k,
                              int batch, std::initializer_list<const void*> memory) {
    std::string size = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    auto each = batch > 1 ? " times " + std::to_string(batch) : "";
    auto error = launch(handle->stream, std::string(name) + " " + size + each, memory);
    return error ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
    Lock lock(state().mutex);
    auto count = ++state().handles;
    static const At failing("FAKE_OOM_CUBLAS");
    if (failing(count)) {
        injected("no memory for cuBLAS handle " + std::to_string(count));
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    *handle = new cublasContext{};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t, cublasMath_t* mode) {
    *mode = CUBLAS_DEFAULT_MATH;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }

using Op = cublasOperation_t;
using Type = cudaDataType;

cublasStatus_t cublasSgemm_v2(cublasHandle_t h, Op, Op, int m, int n, int k, const float*,
                              const float* a, int, const float* b, int, const float*, float* c,
                              int) {
    return product(h, "sgemm", m, n, k, 1, {a, b, c});
}

cublasStatus_t cublasDgemm_v2(cublasHandle_t h, Op, Op, int m, int n, int k, const double*,
                              const double* a, int, const double* b, int, const double*, double* c,
                              int) {
    return product(h, "dgemm", m, n, k, 1, {a, b, c});
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t h, Op, Op, int m, int n, int k,
                                         const float*, const float* a, int, long long,
                                         const float* b, int, long long, const float*, float* c,
                                         int, long long, int batch) {
    return product(h, "sgemm batched", m, n, k, batch, {a, b, c});
}

cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t h, Op, Op, int m, int n, int k,
                                         const double*, const double* a, int, long long,
                                         const double* b, int, long long, const double*, double* c,
                                         int, long long, int batch) {
    return product(h, "dgemm batched", m, n, k, batch, {a, b, c});
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, Op, Op, int m, int n, int k, const void*,
                            const void* a, Type, int, const void* b, Type, int, const void*,
                            void* c, Type, int, cublasComputeType_t, cublasGemmAlgo_t) {
    return product(h, "gemmEx", m, n, k, 1, {a, b, c});
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, Op, Op, int m, int n, int k,
                                          const void*, const void* a, Type, int, long long,
                                          const void* b, Type, int, long long, const void*,
                                          void* c, Type, int, long long, int batch,
                                          cublasComputeType_t, cublasGemmAlgo_t) {
    return product(h, "gemmEx batched", m, n, k, batch, {a, b, c});
}

cublasStatus_t cublasSgemv_v2(cublasHandle_t h, Op, int m, int n, const float*, const float* a, int,
                              const float* x, int, const float*, float* y, int) {
    return product(h, "sgemv", m, n, 1, 1, {a, x, y});
}

cublasStatus_t cublasSdot_v2(cublasHandle_t h, int n, const float* x, int, const float* y, int,
                             float* result) {
    return product(h, "sdot", 1, 1, n, 1, {x, y, result});
}

cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t, cublasPointerMode_t* mode) {
    *mode = CUBLAS_POINTER_MODE_HOST;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t, cublasPointerMode_t) {
    return CUBLAS_STATUS_SUCCESS;
}

// ---- cuBLASLt: descriptions are empty, and the first algorithm is always there.

size_t cublasLtGetVersion() { return 130100; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t, Type) {
    *made = static_cast<cublasLtMatmulDesc_t>(calloc(1, sizeof **made));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    free(description);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
                                              const void*, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, Type, uint64_t, uint64_t,
                                          int64_t) {
    *made = static_cast<cublasLtMatrixLayout_t>(calloc(1, sizeof **made));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t,
                                                cublasLtMatrixLayoutAttribute_t, const void*,
                                                size_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
    *made = static_cast<cublasLtMatmulPreference_t>(calloc(1, sizeof **made));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* count) {
    memset(results, 0, sizeof results[0]);
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void*, const void* a,
                              cublasLtMatrixLayout_t, const void* b, cublasLtMatrixLayout_t,
                              const void*, const void*, cublasLtMatrixLayout_t, void* d,
                              cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*, void*, size_t,
                              cudaStream_t stream) {
    auto error = launch(stream, "cublasLt matmul", {a, b, d});
    return error ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}
}
