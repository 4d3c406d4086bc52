// Records the operators that a piece of work calls, and replays them as a CUDA graph is replayed: on
// the memory of the recording, with the numbers of the recording, whatever has become of both.
// Functions return nullptr or a message that the caller frees with free().

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <cstring>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using c10::DispatchKeySet;
using c10::IValue;
using torch::jit::Stack;

// Of the highest priority, and used by nothing in libtorch but its own tests.
constexpr auto KEY = c10::DispatchKey::TESTING_ONLY_GenericMode;

struct Call {
  c10::OperatorHandle op;
  Stack arguments;
  Stack results;
};

// Memory that recorded calls use.
struct Place {
  c10::Storage storage;
  bool inside; // allocated by a recorded call
  size_t ours; // references of the recording
  std::string before; // outside: its contents

  // Not a number; an index out of range.
  void poison() const {
    if (storage.nbytes() > 0) {
      std::memset(storage.mutable_data(), 0xff, storage.nbytes());
    }
  }
};

struct Recording {
  std::vector<Call> calls;
  std::map<c10::StorageImpl*, Place> places;

  // A handle of the recording's own: who else holds a tensor does not share its TensorImpl, and so
  // counts as a reference to the storage.
  at::Tensor own(const at::Tensor& tensor, bool inside) {
    if (!tensor.defined()) {
      return tensor;
    }
    const c10::Storage& storage = tensor.storage();
    auto [at, is_new] = places.try_emplace(storage.unsafeGetStorageImpl(), Place{storage, inside, 1, ""});
    if (is_new && !inside) {
      at->second.before.assign(static_cast<const char*>(storage.data()), storage.nbytes());
    }
    at->second.ours++;
    return tensor.variable_data();
  }

  IValue own(const IValue& value, bool inside) {
    if (value.isTensor()) {
      return own(value.toTensor(), inside);
    }
    if (value.isList()) {
      c10::impl::GenericList copy(value.toList().elementType());
      for (const IValue& element : value.toListRef()) {
        copy.push_back(own(element, inside));
      }
      return copy;
    }
    return value;
  }

  Stack own(c10::ArrayRef<IValue> values, bool inside) {
    Stack owned;
    for (const IValue& value : values) {
      owned.push_back(own(value, inside));
    }
    return owned;
  }

  void poison_own() const {
    for (auto& [_, place] : places) {
      if (place.inside) {
        place.poison();
      }
    }
  }

  // As if nothing had been computed yet.
  void undo() const {
    for (auto& [_, place] : places) {
      std::memcpy(place.storage.mutable_data(), place.before.data(), place.before.size());
    }
    poison_own();
  }

  void replay() const {
    for (auto& [_, place] : places) {
      if (!place.inside && place.storage.use_count() == place.ours) {
        place.poison(); // freed meanwhile
      }
    }
    for (const Call& call : calls) {
      if (call.op.schema().name().rfind("aten::empty", 0) == 0) {
        continue; // its memory contains what was left there
      }
      Stack stack = call.arguments;
      call.op.callBoxed(stack);
      for (size_t i = 0; i < stack.size(); i++) {
        put(stack[i], call.results[i]);
      }
    }
  }

  // Copies a result to its place, unless it is there: a view, or a tensor changed in place.
  static void put(const IValue& now, const IValue& place) {
    if (place.isTensor() && place.toTensor().defined()) {
      if (!place.toTensor().is_alias_of(now.toTensor())) {
        place.toTensor().copy_(now.toTensor());
      }
    } else if (place.isList()) {
      for (size_t i = 0; i < place.toListRef().size(); i++) {
        put(now.toListRef()[i], place.toListRef()[i]);
      }
    }
  }
};

// The recording of the calling thread; null within a recorded call, too, whose calls are parts of it.
thread_local Recording* recording = nullptr;

// Refuses what a CUDA graph cannot contain, and, of recorded calls themselves, what this model of it
// cannot.
void check(const c10::OperatorHandle& op, bool recorded) {
  auto refuse = [&](at::Tag tag, const char* why) {
    if (op.hasTag(tag)) {
      throw std::runtime_error(c10::str(op.operator_name(), " cannot be recorded: ", why));
    }
  };
  refuse(at::Tag::data_dependent_output, "it reads a value");
  refuse(at::Tag::dynamic_output_shape, "the size of its result depends on values");
  refuse(at::Tag::nondeterministic_seeded, "it draws random numbers");
  if (recorded) {
    refuse(at::Tag::inplace_view, "it changes a tensor's shape in place");
  }
}

void record(const c10::OperatorHandle& op, DispatchKeySet keys, Stack* stack) {
  check(op, recording != nullptr);
  struct Within {
    Recording* outer = std::exchange(recording, nullptr);
    ~Within() { recording = outer; }
  } within;
  auto below = keys & DispatchKeySet(DispatchKeySet::FULL_AFTER, KEY);
  if (within.outer == nullptr) {
    op.redispatchBoxed(below, stack);
    return;
  }
  size_t before = stack->size() - op.schema().arguments().size();
  auto top = [&] { return c10::ArrayRef<IValue>(*stack).slice(before); };
  Stack arguments = within.outer->own(top(), /*inside=*/false);
  op.redispatchBoxed(below, stack);
  within.outer->calls.push_back({op, std::move(arguments), within.outer->own(top(), /*inside=*/true)});
}

} // namespace

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&record>());
}

extern "C" {

// Records what the calling thread computes until wninit_recording_end.
void* wninit_recording_begin() {
  recording = new Recording;
  c10::impl::tls_set_dispatch_key_included(KEY, true);
  return recording;
}

// Takes back what was computed.
void wninit_recording_end(void* of) {
  c10::impl::tls_set_dispatch_key_included(KEY, false);
  recording = nullptr;
  static_cast<Recording*>(of)->undo();
}

char* wninit_recording_replay(const void* of) {
  try {
    static_cast<const Recording*>(of)->replay();
    return nullptr;
  } catch (const std::exception& e) {
    return strdup(e.what());
  }
}

void wninit_recording_poison(const void* of) { static_cast<const Recording*>(of)->poison_own(); }

void wninit_recording_free(void* of) { delete static_cast<Recording*>(of); }

} // extern "C"
