// Streams and events. Work takes no time, so nothing is ever waited for; what matters is the order
// that they express within a capture, and which calls a capture forbids.
#include "fake.h"

namespace fake {

CUstream_st* stream_of(cudaStream_t stream) {
    static CUstream_st standard{};
    return reinterpret_cast<uintptr_t>(stream) > 2 ? stream : &standard;
}

static CUstream_st* new_stream(int priority) {
    auto& s = state();
    int id = static_cast<int>(s.streams.size()) + 1;
    s.streams.push_back(new CUstream_st{id, current_device(), priority, nullptr, {}});
    return s.streams.back();
}

static void join(Clock& clock, const Clock& other) {
    for (auto& [stream, count] : other) clock[stream] = std::max(clock[stream], count);
}

} // namespace fake

using namespace fake;

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
    Lock lock(state().mutex);
    *stream = new_stream(priority);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    return cudaStreamCreateWithPriority(stream, 0, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    return cudaStreamCreateWithPriority(stream, 0, 0);
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
    *priority = stream_of(stream)->priority;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    Lock lock(state().mutex);
    state().syncs++;
    if (auto capture = capture_of(stream_of(stream))) {
        violation("refused", "cudaStreamSynchronize of a stream that is captured");
        invalidate(capture);
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    return refused_wait("cudaStreamSynchronize") ? failed(cudaErrorStreamCaptureUnsupported)
                                                 : cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    Lock lock(state().mutex);
    if (auto capture = capture_of(stream_of(stream))) {
        violation("refused", "cudaStreamQuery of a stream that is captured");
        invalidate(capture);
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
}

// It waits for the whole device, so it is illegal while any of its streams is captured, by whatever
// thread.
cudaError_t cudaDeviceSynchronize() {
    auto& s = state();
    Lock lock(s.mutex);
    s.syncs++;
    for (auto& [id, capture] : s.captures) {
        if (capture->origin->device != current_device()) continue;
        violation("refused", "cudaDeviceSynchronize while a stream of the device is captured");
        invalidate(capture);
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    auto& s = state();
    Lock lock(s.mutex);
    auto waiting = stream_of(stream);
    auto own = capture_of(waiting);
    auto found = s.captures.find(event->capture);
    if (found == s.captures.end()) {
        if (event->capture) {
            violation("refused", "a stream waits for an event of a capture that has ended");
            return failed(cudaErrorCapturedEvent);
        }
        if (own) {
            violation("refused", "a captured stream waits for an event outside of the capture");
            invalidate(own);
            return failed(cudaErrorStreamCaptureIsolation);
        }
        return cudaSuccess;
    }
    auto capture = found->second;
    if (own && own != capture) {
        violation("refused", "a captured stream waits for an event of another capture");
        invalidate(own);
        invalidate(capture);
        return failed(cudaErrorStreamCaptureMerge);
    }
    if (!own) { // the capture spreads to this stream, which must be joined even if it stays idle
        waiting->capture = capture;
        waiting->clock.clear();
        waiting->clock[waiting] = 1;
        capture->streams.insert(waiting);
    }
    join(waiting->clock, event->clock);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = new CUevent_st{current_device(), 0, {}};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    Lock lock(state().mutex);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    Lock lock(state().mutex);
    auto recorded = stream_of(stream);
    if (reinterpret_cast<uintptr_t>(stream) > 2 && recorded->device != event->device) {
        violation("refused", "an event of one device is recorded on a stream of another");
        return failed(cudaErrorInvalidResourceHandle);
    }
    auto capture = capture_of(recorded);
    event->capture = capture ? capture->id : 0;
    event->clock = capture ? recorded->clock : Clock{};
    return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
    return cudaEventRecord(event, stream);
}

static cudaError_t wait_or_query(cudaEvent_t event, const char* call) {
    auto& s = state();
    Lock lock(s.mutex);
    auto found = s.captures.find(event->capture);
    if (found != s.captures.end()) {
        violation("refused", std::string(call) + " of an event of a capture");
        invalidate(found->second);
        return failed(cudaErrorCapturedEvent);
    }
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (auto error = wait_or_query(event, "cudaEventQuery")) return error;
    Lock lock(state().mutex);
    bool refused = refused_in_capture("cudaEventQuery");
    return refused ? failed(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (auto error = wait_or_query(event, "cudaEventSynchronize")) return error;
    Lock lock(state().mutex);
    state().syncs++;
    bool refused = refused_wait("cudaEventSynchronize");
    return refused ? failed(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
    *milliseconds = 1;
    return cudaSuccess;
}
}
