// Captures and graphs. A graph is the number of its nodes by name, and the memory that they touch.
#include "fake.h"

#include <unistd.h>

namespace fake {

// A thread may change which calls are refused on it, with cudaThreadExchangeStreamCaptureMode.
static thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

Capture* capture_of(CUstream_st* stream) { return stream->capture; }

void invalidate(Capture* capture) {
    capture->invalid = true;
    capture->injected = false;
}

// The rule of cudaThreadExchangeStreamCaptureMode: a thread in relaxed mode may do anything; a
// capture of its own that is not relaxed forbids the call to any other thread, and a global one of
// another thread forbids it to a thread in global mode.
bool refused_in_capture(const char* call) {
    if (thread_mode == cudaStreamCaptureModeRelaxed) return false;
    for (auto& [id, capture] : state().captures) {
        bool own = capture->thread == std::this_thread::get_id();
        bool forbids = own ? capture->mode != cudaStreamCaptureModeRelaxed
                           : capture->mode == cudaStreamCaptureModeGlobal &&
                                 thread_mode == cudaStreamCaptureModeGlobal;
        if (!forbids) continue;
        violation("refused", std::string(call) + " during capture " + std::to_string(id));
        invalidate(capture);
        return true;
    }
    return false;
}

// CUDA lets a thread wait for other streams while it captures one. It waits for nothing that the
// capture needs, so we do not.
bool refused_wait(const char* call) {
    for (auto& [id, capture] : state().captures) {
        if (capture->thread != std::this_thread::get_id()) continue;
        violation("wait in capture", std::string(call) + " during capture " + std::to_string(id));
        invalidate(capture);
        return true;
    }
    return false;
}

cudaError_t launch(cudaStream_t stream, const std::string& name,
                   std::initializer_list<const void*> memory) {
    auto& s = state();
    Lock lock(s.mutex);
    s.used_at_all = true;
    s.launches++;
    launched_on_this_thread();
    auto on = stream_of(stream);
    if (reinterpret_cast<uintptr_t>(stream) > 2 && on->device != current_device()) {
        violation("refused", name + " on a stream of a device that is not the current one");
        return failed(cudaErrorInvalidResourceHandle);
    }
    if (on == stream_of(nullptr)) { // implicitly waits for all streams
        for (auto& [id, capture] : s.captures) {
            if (capture->thread != std::this_thread::get_id()) continue;
            violation("refused", name + " on the default stream during capture");
            invalidate(capture);
            return failed(cudaErrorStreamCaptureImplicit);
        }
        return cudaSuccess;
    }
    auto capture = on->capture;
    if (!capture) return cudaSuccess;
    if (capture->invalid) return failed(cudaErrorStreamCaptureInvalidated);
    auto& recording = capture->recording;
    recording.nodes++;
    static const At failing("FAKE_FAILCAP");
    auto where = failing(capture->id);
    if (where && (where->empty() ? "5" : *where) == std::to_string(recording.nodes)) {
        injected("failure at node " + std::to_string(recording.nodes) + " of capture " +
                 std::to_string(capture->id));
        capture->invalid = capture->injected = true;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    recording.names[name]++;
    on->clock[on]++;
    for (auto address : memory) touch(recording, address);
    return cudaSuccess;
}

// Whether work was recorded on a stream that the first one does not wait for at the end.
static bool is_unjoined(const Capture& capture) {
    auto& end = capture.origin->clock;
    for (auto stream : capture.streams) {
        auto seen = end.find(stream);
        if (stream->clock[stream] > (seen == end.end() ? 0 : seen->second)) return true;
    }
    return false;
}

// A line about the capture, and with FAKE_CAPS=1 one for each kind of node.
static void list(const Capture& capture, const char* end) {
    auto& recording = capture.recording;
    auto id = std::to_string(capture.id);
    say("capture " + id + " nodes=" + std::to_string(recording.nodes) + " streams=" +
        std::to_string(capture.streams.size()) + " " + end);
    if (!setting("FAKE_CAPS", 0)) return;
    std::string lines;
    for (auto& [name, count] : recording.names) {
        if (!lines.empty()) lines += "\n";
        lines += "node " + id + " " + std::to_string(count) + " " + name;
    }
    if (!lines.empty()) say(lines);
}

static cudaError_t fail_if(unsigned long long capture, const char* where, cudaError_t error) {
    static const At failing("FAKE_FAILCAP");
    if (failing(capture) != where) return cudaSuccess;
    injected(std::string("failure at ") + where + " of capture " + std::to_string(capture));
    return failed(error);
}

} // namespace fake

using namespace fake;

// A graph before and after its instantiation.
struct Graph {
    Recording recording;
    unsigned long long capture;
};

// Which algorithm, and layout unless it is NHWC, a graph was recorded with, if it is one
// convolution's.
static std::string algorithm(const Recording& recording) {
    bool convolution = false, grouped = false;
    std::string layout;
    for (auto& [name, count] : recording.names) {
        auto has = [&name = name](const char* word) { return name.find(word) != name.npos; };
        convolution |= has("cudnn");
        grouped |= has("grouped");
        if (has("cudnn") && has("nchw")) layout = " nchw";
    }
    if (!convolution) return "patches";
    return (grouped ? "grouped" : recording.streams > 1 ? "lanes" : "dense") + layout;
}

// Whether a capture's convolutions are those of the one before on this thread, which is then the
// first of the two. Algorithms that differ in a layout that a shape does not have are such twins.
static bool is_twin(const Recording& recording) {
    static thread_local std::string before;
    static thread_local bool was_twin = false;
    std::string convolutions = algorithm(recording);
    for (auto& [name, count] : recording.names) {
        if (name.find("cudnn") == 0) convolutions += name;
    }
    was_twin = !was_twin && convolutions == before;
    before = convolutions;
    return was_twin;
}

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    auto& s = state();
    Lock lock(s.mutex);
    auto origin = stream_of(stream);
    if (origin == stream_of(nullptr) || origin->capture) {
        violation("refused", "cudaStreamBeginCapture on the default stream, or during a capture");
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    auto id = ++s.captures_begun;
    auto error = fail_if(id, "begin", cudaErrorStreamCaptureUnsupported);
    if (error) return error;
    auto capture = new Capture{id, mode, std::this_thread::get_id(), origin, {origin}, {}};
    origin->capture = capture;
    origin->clock.clear();
    s.captures[id] = capture;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    auto& s = state();
    Lock lock(s.mutex);
    *graph = nullptr;
    auto origin = stream_of(stream);
    auto capture = origin->capture;
    if (!capture || capture->origin != origin) {
        violation("refused", "cudaStreamEndCapture of a stream on which no capture began");
        return failed(cudaErrorIllegalState);
    }
    if (fail_if(capture->id, "end", cudaErrorStreamCaptureInvalidated)) {
        capture->invalid = capture->injected = true;
    }
    bool unjoined = !capture->invalid && is_unjoined(*capture);
    if (unjoined) violation("unjoined", "a stream of capture " + std::to_string(capture->id));
    for (auto each : capture->streams) each->capture = nullptr;
    s.captures.erase(capture->id);
    capture->recording.streams = capture->streams.size();
    capture->recording.twin = is_twin(capture->recording);
    auto end = capture->injected ? "injected" : capture->invalid || unjoined ? "failed" : "ok";
    list(*capture, end);
    cudaError_t error = cudaSuccess;
    if (capture->invalid) {
        error = failed(cudaErrorStreamCaptureInvalidated);
    } else if (unjoined) {
        error = failed(cudaErrorStreamCaptureUnjoined);
    } else {
        auto made = new Graph{capture->recording, capture->id};
        s.graphs.insert(made);
        *graph = reinterpret_cast<cudaGraph_t>(made);
    }
    delete capture;
    return error;
}

static cudaStreamCaptureStatus status(const Capture* capture) {
    if (!capture) return cudaStreamCaptureStatusNone;
    return capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* out) {
    Lock lock(state().mutex);
    *out = status(stream_of(stream)->capture);
    return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* out,
                                     unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, size_t* count) {
    Lock lock(state().mutex);
    auto capture = stream_of(stream)->capture;
    *out = status(capture);
    if (id) *id = capture ? capture->id : 0;
    if (graph) *graph = nullptr;
    if (dependencies) *dependencies = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    std::swap(*mode, thread_mode);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long) {
    auto& s = state();
    Lock lock(s.mutex);
    auto from = reinterpret_cast<Graph*>(graph);
    if (!s.graphs.count(from)) {
        violation("refused", "cudaGraphInstantiate of a graph that does not exist");
        return failed(cudaErrorInvalidValue);
    }
    auto error = fail_if(from->capture, "instantiate", cudaErrorMemoryAllocation);
    if (error) return error;
    auto made = new Graph(*from);
    s.execs.insert(made);
    *exec = reinterpret_cast<cudaGraphExec_t>(made);
    return cudaSuccess;
}

// With FAKE_PREFER, graphs of another convolution algorithm take longer, and so do twins.
static void dawdle(const Recording& recording) {
    static const char* preferred = getenv("FAKE_PREFER");
    constexpr size_t LARGE = 400; // nodes: a whole training step
    if (!preferred || recording.nodes >= LARGE) return;
    if (recording.twin || algorithm(recording) != preferred) usleep(4000);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    auto& s = state();
    auto graph = reinterpret_cast<Graph*>(exec);
    Recording recording;
    {
        Lock lock(s.mutex);
        s.graph_launches++;
        if (!s.execs.count(graph)) {
            violation("refused", "cudaGraphLaunch of a graph that does not exist");
            return failed(cudaErrorInvalidValue);
        }
        check_memory(graph->recording);
        if (auto error = launch(stream, "graph")) return error;
        if (getenv("FAKE_PREFER")) recording = graph->recording;
    }
    dawdle(recording);
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
    Lock lock(state().mutex);
    *count = reinterpret_cast<Graph*>(graph)->recording.nodes;
    return cudaSuccess;
}

static cudaError_t destroy(std::set<void*>& existing, void* graph) {
    if (!existing.erase(graph)) {
        violation("refused", "a graph is destroyed that does not exist");
        return failed(cudaErrorInvalidValue);
    }
    delete static_cast<Graph*>(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    Lock lock(state().mutex);
    return destroy(state().graphs, graph);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    Lock lock(state().mutex);
    return destroy(state().execs, exec);
}
}
