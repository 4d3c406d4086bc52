// The log, the settings, and the report at the end of the process.
#include "fake.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace fake {

State& state() {
    static auto* state = new State;
    return *state;
}

At::At(const char* variable) {
    const char* text = getenv(variable);
    std::istringstream list(text ? text : "");
    for (std::string item; std::getline(list, item, ',');) {
        auto colon = item.find(':');
        auto where = colon == std::string::npos ? "" : item.substr(colon + 1);
        named_[strtoull(item.c_str(), nullptr, 10)] = where;
    }
}

std::optional<std::string> At::operator()(unsigned long long count) const {
    auto found = named_.find(count);
    return found == named_.end() ? std::nullopt : std::optional(found->second);
}

long setting(const char* variable, long otherwise) {
    const char* text = getenv(variable);
    return text ? atol(text) : otherwise;
}

void say(const std::string& line) {
    static int file = [] {
        const char* path = getenv("FAKE_LOG");
        return path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : 2;
    }();
    std::string whole = line + "\n";
    // One write, so that lines of threads and processes stay whole.
    if (write(file, whole.data(), whole.size()) < 0) abort();
}

static std::string demangled(const char* name) {
    int status;
    char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = text ? text : name;
    free(text);
    return result;
}

void violation(const char* kind, const std::string& what) {
    std::string lines = std::string("violation ") + kind + ": " + what;
    void* frames[64];
    int count = backtrace(frames, 64);
    for (int i = 1; i < count; i++) {
        Dl_info info;
        if (!dladdr(frames[i], &info) || !info.dli_sname) continue;
        std::string name = demangled(info.dli_sname);
        bool theirs = name.find("at::") == 0 || name.find("c10::") == 0;
        if (theirs) lines += "\n  in " + name.substr(0, 100);
    }
    say(lines);
}

void injected(const std::string& what) { say("injected " + what); }

} // namespace fake

static size_t (*allocated_by_libtorch)() = nullptr;

extern "C" void fake_allocated_is(size_t (*allocated)()) { allocated_by_libtorch = allocated; }

// What was used, and whether it was given back: tensors, graphs, and with them all device memory,
// once libtorch was told to empty its cache. Does nothing in a process that did not use the device.
static void report() {
    auto& s = fake::state();
    fake::Lock lock(s.mutex);
    if (!s.used_at_all) return;
    size_t allocated = allocated_by_libtorch ? allocated_by_libtorch() : 0;
    s.used_at_all = false;
    size_t reserved = 0, peak = 0;
    for (auto& [device, bytes] : s.used) reserved += bytes;
    for (auto& [device, bytes] : s.peak) peak = std::max(peak, bytes);
    auto kept = [](const std::string& what) { fake::violation("not given back", what); };
    if (allocated > 0) kept(std::to_string(allocated) + " bytes of tensors");
    auto graphs = s.graphs.size() + s.execs.size();
    if (graphs > 0) kept(std::to_string(graphs) + " graphs");
    if (reserved > 0 && allocated == 0) kept(std::to_string(reserved) + " bytes of a pool");
    std::ostringstream line;
    line << "exit allocations=" << s.allocations << " captures=" << s.captures_begun
         << " convolutions=" << s.convolutions
         << " searches=" << s.searches << " copies=" << s.copies << " launches=" << s.launches
         << " graph_launches=" << s.graph_launches << " syncs=" << s.syncs
         << " streams=" << s.streams.size() << " peak=" << peak << " reserved=" << reserved
         << " allocated=" << allocated;
    fake::say(line.str());
}

// ---- the ends of a process: main returns, exit, exec

template <class F> static F real(const char* name) {
    auto found = reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
    if (!found) abort();
    return found;
}

using Main = int (*)(int, char**, char**);
static Main program;

// exit destroys what threads own first, and then calls what was registered last.
static int program_then_report(int argc, char** argv, char** env) {
    int code = program(argc, argv, env);
    atexit(report);
    return code;
}

extern "C" int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(),
                                 void (*rtld_fini)(), void* stack) {
    program = main;
    auto start = real<decltype(&__libc_start_main)>("__libc_start_main");
    return start(program_then_report, argc, argv, init, fini, rtld_fini, stack);
}

extern "C" void exit(int code) {
    atexit(report);
    real<void (*)(int)>("exit")(code);
    __builtin_unreachable();
}

extern "C" int execvp(const char* file, char* const argv[]) {
    report();
    return real<int (*)(const char*, char* const*)>("execvp")(file, argv);
}
