// Device memory, and copies.
//
// Device memory is addresses without memory behind them: a host that reads or writes it crashes, as
// with a real GPU, and a model of any size costs nothing. Nothing is computed, so what is copied to
// the host is zeros, whatever the history of the memory; FAKE_NAN makes one of them a NaN.
#include "fake.h"

#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

namespace fake {

// libtorch frees its cache and asks once more when cudaMalloc fails, but not during a capture. On a
// device that is full that does not help, so the same request fails then, too, if the thread has
// launched nothing since.
static thread_local size_t failing = 0;

void launched_on_this_thread() { failing = 0; }

static std::map<uintptr_t, Allocation>::iterator holding(const void* address) {
    auto& memory = state().memory;
    auto a = reinterpret_cast<uintptr_t>(address);
    auto next = memory.upper_bound(a);
    if (next == memory.begin()) return memory.end();
    --next;
    return a < next->first + next->second.bytes ? next : memory.end();
}

bool on_device(const void* address) {
    Lock lock(state().mutex);
    return holding(address) != state().memory.end();
}

void touch(Recording& recording, const void* address) {
    auto found = holding(address);
    if (found != state().memory.end()) recording.memory[found->first] = found->second.id;
}

void check_memory(const Recording& recording) {
    for (auto& [address, id] : recording.memory) {
        auto found = state().memory.find(address);
        if (found == state().memory.end() || found->second.id != id) {
            violation("freed memory", "a graph is launched on memory that was freed since");
            return;
        }
    }
}

} // namespace fake

using namespace fake;

static size_t total() { return static_cast<size_t>(setting("FAKE_MB", 80 << 10)) << 20; }

extern "C" {

cudaError_t cudaMemGetInfo(size_t* free, size_t* all) {
    Lock lock(state().mutex);
    *all = total();
    *free = *all - state().used[current_device()];
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** out, size_t bytes) {
    auto& s = state();
    Lock lock(s.mutex);
    s.used_at_all = true;
    if (refused_in_capture("cudaMalloc")) return failed(cudaErrorStreamCaptureUnsupported);
    static const At full("FAKE_OOM_AT");
    auto count = ++s.allocations;
    if (setting("FAKE_LIST", 0)) {
        say("malloc " + std::to_string(count) + " bytes=" + std::to_string(bytes));
    }
    bool again = std::exchange(failing, 0) == bytes;
    if (full(count) || again) {
        if (!again) injected("out of memory at allocation " + std::to_string(count));
        if (!again) failing = bytes;
        return failed(cudaErrorMemoryAllocation);
    }
    int device = current_device();
    size_t whole = (bytes + 4095) / 4096 * 4096;
    if (s.used[device] + whole > total()) return failed(cudaErrorMemoryAllocation);
    auto flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* address = mmap(nullptr, whole, PROT_NONE, flags, -1, 0);
    if (address == MAP_FAILED) return failed(cudaErrorMemoryAllocation);
    s.memory[reinterpret_cast<uintptr_t>(address)] = {whole, device, count};
    s.used[device] += whole;
    s.peak[device] = std::max(s.peak[device], s.used[device]);
    *out = address;
    return cudaSuccess;
}

cudaError_t cudaFree(void* address) {
    if (!address) return cudaSuccess;
    auto& s = state();
    Lock lock(s.mutex);
    if (refused_in_capture("cudaFree")) return failed(cudaErrorStreamCaptureUnsupported);
    auto found = s.memory.find(reinterpret_cast<uintptr_t>(address));
    if (found == s.memory.end()) {
        violation("refused", "cudaFree of memory that is not allocated");
        return failed(cudaErrorInvalidValue);
    }
    munmap(address, found->second.bytes);
    s.used[found->second.device] -= found->second.bytes;
    s.memory.erase(found);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** out, size_t bytes, unsigned) {
    Lock lock(state().mutex);
    if (refused_in_capture("cudaHostAlloc")) return failed(cudaErrorStreamCaptureUnsupported);
    *out = malloc(bytes);
    state().pinned[*out] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void* address) {
    Lock lock(state().mutex);
    if (refused_in_capture("cudaFreeHost")) return failed(cudaErrorStreamCaptureUnsupported);
    state().pinned.erase(address);
    free(address);
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
    Lock lock(state().mutex);
    memset(attributes, 0, sizeof *attributes);
    attributes->type = cudaMemoryTypeUnregistered;
    auto found = holding(address);
    if (found != state().memory.end()) {
        attributes->type = cudaMemoryTypeDevice;
        attributes->device = found->second.device;
        attributes->devicePointer = const_cast<void*>(address);
    }
    return cudaSuccess;
}

// Fills what a copy brings to the host: zeros, and NaNs where FAKE_NAN=COPY:INDEX+INDEX says so, at
// these indices of the copy's doubles (0).
static void bring(void* to, size_t bytes) {
    auto& s = state();
    memset(to, 0, bytes);
    auto count = ++s.copies;
    if (setting("FAKE_LIST", 0)) {
        say("copy " + std::to_string(count) + " bytes=" + std::to_string(bytes));
    }
    static const At spoilt("FAKE_NAN");
    auto places = spoilt(count);
    if (!places) return;
    std::istringstream indices(places->empty() ? "0" : *places);
    for (std::string index; std::getline(indices, index, '+');) {
        auto place = std::stoull(index);
        if ((place + 1) * sizeof(double) > bytes) {
            injected("nothing: copy " + std::to_string(count) + " has no double " + index);
            continue;
        }
        static_cast<double*>(to)[place] = std::nan("");
        injected("a NaN in copy " + std::to_string(count) + ", double " + index);
    }
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    auto& s = state();
    Lock lock(s.mutex);
    bool to_device = on_device(to), from_device = on_device(from);
    std::string name = std::string("copy ") + (from_device ? "D" : "H") + "to" +
                       (to_device ? "D" : "H");
    auto capture = capture_of(stream_of(stream));
    if (capture && !(to_device && from_device)) {
        // CUDA refuses pageable memory. Of pinned memory it records the address, not the contents.
        violation("host copy in capture", name);
        invalidate(capture);
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    auto error = launch(stream, name, {to, from});
    if (error || capture) return error;
    if (!to_device) from_device ? bring(to, bytes) : (void)memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    Lock lock(state().mutex);
    if (refused_in_capture("cudaMemcpy")) return failed(cudaErrorStreamCaptureUnsupported);
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes,
                                cudaStream_t stream) {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

cudaError_t cudaMemsetAsync(void* to, int, size_t, cudaStream_t stream) {
    Lock lock(state().mutex);
    return launch(stream, "memset", {to});
}

cudaError_t cudaMemset(void* to, int, size_t) {
    Lock lock(state().mutex);
    if (refused_in_capture("cudaMemset")) return failed(cudaErrorStreamCaptureUnsupported);
    return launch(nullptr, "memset", {to});
}
}
