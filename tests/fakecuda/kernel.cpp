// Kernels: which there are, how they are called in node lists, and their launches.
#include "fake.h"

#include <cxxabi.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace fake {

// Their mangled names by the address of their stub in the host's code.
static std::map<const void*, const char*>& kernels() {
    static auto* kernels = new std::map<const void*, const char*>;
    return *kernels;
}

// Words of a C++ signature that say nothing about what a kernel does.
static bool says_nothing(const std::string& word) {
    static const std::set<std::string> words{
        "void", "bool", "char", "int", "ul", "const", "unsigned", "signed", "true", "false", "std",
        "array", "ptr", "T", "type", "typename", "enable_if", "lambda", "operator", "anonymous",
        "namespace", "at", "native", "c10", "cuda", "cub", "detail", "impl", "memory", "block",
        "function", "TensorIteratorBase", "gpu_kernel_impl", "gpu_kernel_impl_nocast",
        "binary_internal", "func_wrapper_t"};
    return words.count(word) || word.find("Calculator") != std::string::npos ||
           std::isdigit(static_cast<unsigned char>(word[0]));
}

// A short name: the words of the signature up to its parameters that say something, each once.
static std::string short_name(const char* mangled) {
    int status;
    char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    std::string whole = text ? text : mangled;
    free(text);
    std::vector<std::string> words;
    std::string word;
    for (char c : whole + " ") {
        if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') {
            word += c;
            continue;
        }
        bool known = std::find(words.begin(), words.end(), word) != words.end();
        if (!word.empty() && !known && !says_nothing(word)) words.push_back(word);
        word.clear();
    }
    constexpr size_t MOST = 5;
    std::string name;
    for (size_t i = 0; i < words.size() && i < MOST; i++) name += (i ? " " : "") + words[i];
    return name;
}

static cudaError_t launch_kernel(const void* kernel, cudaStream_t stream) {
    static thread_local std::map<const void*, std::string> known;
    auto& name = known[kernel];
    if (name.empty()) {
        Lock lock(state().mutex);
        auto found = kernels().find(kernel);
        name = found == kernels().end() ? "unknown kernel" : short_name(found->second);
    }
    return launch(stream, name);
}

} // namespace fake

using namespace fake;

struct Configuration {
    dim3 grid, block;
    size_t shared;
    void* stream;
};

static thread_local std::vector<Configuration> pushed;

extern "C" {

void fake_launch(cudaStream_t stream, const char* name, const void** memory, int count) {
    Lock lock(state().mutex);
    if (launch(stream, name)) return;
    if (auto capture = capture_of(stream_of(stream))) {
        for (int i = 0; i < count; i++) touch(capture->recording, memory[i]);
    }
}

void fake_search(cudaStream_t stream, const char* what) {
    std::this_thread::sleep_for(std::chrono::milliseconds(setting("FAKE_SEARCH_MS", 0)));
    auto& s = state();
    Lock lock(s.mutex);
    auto count = ++s.searches;
    if (setting("FAKE_LIST", 0)) say("search " + std::to_string(count) + " " + what);
    if (auto capture = capture_of(stream_of(stream))) {
        violation("plan search in capture", what);
        invalidate(capture);
    }
}

void** __cudaRegisterFatBinary(void*) {
    static void* handle[4];
    return handle;
}

void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

void __cudaRegisterFunction(void**, const char* stub, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
    kernels()[stub] = name;
}

// Kernels that NVRTC compiled: a library is nothing, and a kernel of it is told by its name.
cudaError_t cudaLibraryLoadData(cudaLibrary_t* library, const void*, cudaJitOption*, void**,
                                unsigned, cudaLibraryOption*, void**, unsigned) {
    Lock lock(state().mutex);
    if (refused_in_capture("cudaLibraryLoadData")) return failed(cudaErrorStreamCaptureUnsupported);
    *library = reinterpret_cast<cudaLibrary_t>(new char);
    return cudaSuccess;
}

cudaError_t cudaLibraryUnload(cudaLibrary_t library) {
    delete reinterpret_cast<char*>(library);
    return cudaSuccess;
}

cudaError_t cudaLibraryGetKernel(cudaKernel_t* kernel, cudaLibrary_t, const char* name) {
    Lock lock(state().mutex);
    auto known = new std::string(name);
    kernels()[known] = known->c_str();
    *kernel = reinterpret_cast<cudaKernel_t>(known);
    return cudaSuccess;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
    pushed.push_back({grid, block, shared, stream});
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    auto last = pushed.back();
    pushed.pop_back();
    *grid = last.grid;
    *block = last.block;
    *shared = last.shared;
    *static_cast<void**>(stream) = last.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(stub));
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t s) {
    return launch_kernel(kernel, s);
}

cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void**, size_t, cudaStream_t s) {
    return launch_kernel(kernel, s);
}

cudaError_t cudaLaunchCooperativeKernel(const void* kernel, dim3, dim3, void**, size_t,
                                        cudaStream_t s) {
    return launch_kernel(kernel, s);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void**) {
    return launch_kernel(kernel, config->stream);
}
}
