// What the files of the pretend CUDA runtime share: its state, its log, and its settings.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace fake {

// A cudaMalloc that was not freed yet. Its id tells it from a later one at the same address.
struct Allocation {
    size_t bytes;
    int device;
    uint64_t id;
};

// Work that was recorded: how often each kernel, by name, and on which memory, as far as that can
// be seen (products, convolutions, copies; the arguments of other kernels are opaque).
struct Recording {
    std::map<std::string, size_t> names;
    std::map<uintptr_t, uint64_t> memory;
    size_t nodes = 0;
    size_t streams = 1;
    bool twin = false; // see capture.cpp
};

// A sequence of cudaStreamBeginCapture to cudaStreamEndCapture.
struct Capture {
    unsigned long long id;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    CUstream_st* origin;
    std::set<CUstream_st*> streams;
    Recording recording;
    bool invalid = false;
    bool injected = false; // invalid only because FAKE_FAILCAP said so
};

// For each stream, the number of its nodes that come before (a vector clock).
using Clock = std::map<CUstream_st*, size_t>;

// All state, guarded by `mutex`. It is never destroyed: libtorch calls until the very end.
struct State {
    std::recursive_mutex mutex;
    std::map<uintptr_t, Allocation> memory;
    std::map<int, size_t> used, peak; // bytes, by device
    std::map<void*, size_t> pinned;
    std::vector<CUstream_st*> streams;
    std::map<unsigned long long, Capture*> captures; // in progress, by id
    std::set<void*> graphs, execs;
    unsigned long long allocations = 0, captures_begun = 0, searches = 0, handles = 0;
    unsigned long long convolutions = 0;
    unsigned long long copies = 0, launches = 0, graph_launches = 0, syncs = 0;
    bool used_at_all = false;
};

State& state();

using Lock = std::lock_guard<std::recursive_mutex>;

// ---- settings

// Numbers of an environment variable, such as FAKE_NAN=3,7:2, and what follows their colons.
class At {
public:
    explicit At(const char* variable);
    // What follows the colon of this number, "" if nothing; none if the number is not named.
    std::optional<std::string> operator()(unsigned long long count) const;

private:
    std::map<unsigned long long, std::string> named_;
};

long setting(const char* variable, long otherwise);

// ---- the log

// Appends a line to the log.
void say(const std::string& line);

// A line for a fault of the program, with the functions of libtorch that led to it.
void violation(const char* kind, const std::string& what);

// A line for a failure that a setting asked for.
void injected(const std::string& what);

// Remembers the error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error);

// ---- devices, streams and captures

int current_device();

// A stream's state; null, 1 and 2 are the default streams.
CUstream_st* stream_of(cudaStream_t stream);

// Whether a call that cannot be recorded is refused because of a capture: then it is a violation
// and the capture is invalid.
bool refused_in_capture(const char* call);

// The same for a call that waits for the device. It is a violation in any capture of this thread.
bool refused_wait(const char* call);

// Marks a capture as failed.
void invalidate(Capture* capture);

// The capture that a stream is a part of; null if none.
Capture* capture_of(CUstream_st* stream);

// Launches work: on a stream that is captured, a node of this name that touches this memory.
cudaError_t launch(cudaStream_t stream, const std::string& name,
                   std::initializer_list<const void*> memory = {});

// Ends what FAKE_OOM_AT lets fail twice, see memory.cpp.
void launched_on_this_thread();

// Whether an address lies in the memory of a device.
bool on_device(const void* address);

// Adds the allocation that holds an address to the recording.
void touch(Recording& recording, const void* address);

// A violation if memory that the recording touches was freed since.
void check_memory(const Recording& recording);

} // namespace fake

struct CUstream_st {
    int id;
    int device;
    int priority;
    fake::Capture* capture;
    fake::Clock clock; // of the capture
};

struct CUevent_st {
    int device;
    unsigned long long capture; // in which it was recorded last; 0 if in none
    fake::Clock clock;
};

// What the half that knows libtorch (torch.cpp) and the driver (driver.cpp) use.
extern "C" {
void fake_launch(cudaStream_t stream, const char* name, const void** memory, int count);
// cuDNN's search for the fastest plan of a convolution: allocates, runs, waits.
void fake_search(cudaStream_t stream, const char* what);
// How many bytes libtorch has handed out. It gives back what it only keeps for later.
void fake_allocated_is(size_t (*allocated)());
}
