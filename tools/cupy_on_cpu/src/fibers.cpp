#include "fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "api.h"

using cupy_on_cpu::WarpOperation;

// The indices that kernels read, see launch.h.
dim3 threadIdx{0, 0, 0}, blockIdx{0, 0, 0}, blockDim, gridDim;

namespace {

constexpr unsigned max_threads = 1024;
constexpr std::size_t stack_bytes = 64 << 10;

// ---- switching from one stack to another

#if defined(__x86_64__)
// Only what a function call must preserve is saved. swapcontext also makes a system call for the signal mask, which
// would cost more than the rest of a small kernel: a reduction switches some ten thousand times a block.
extern "C" void cupy_on_cpu_switch(void** save_stack_pointer, void* load_stack_pointer);
asm(R"(
.text
.type cupy_on_cpu_switch, @function
cupy_on_cpu_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");

struct Context {
    void* stack_pointer = nullptr;

    void prepare(char* stack, void (*entry)()) {
        auto top = (void**)(stack + stack_bytes);  // 16-byte aligned, as a function expects it before its call
        top[-2] = (void*)entry;                    // where `ret` goes; the six registers below start as they are
        stack_pointer = top - 2 - 6;
    }
    static void change(Context& from, Context& to) { cupy_on_cpu_switch(&from.stack_pointer, to.stack_pointer); }
};
#else
struct Context {
    ucontext_t context;

    void prepare(char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = stack_bytes;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    static void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
};
#endif

// ---- the threads of a block

enum class State { ready, at_block_barrier, at_warp_operation, done };

struct WarpRequest {
    WarpOperation operation;
    uint64_t mask;          // 0: whoever comes
    unsigned lanes;         // 32 or 64
    uint64_t value;
    unsigned source_lane;
    uint64_t result;

    bool same_group(const WarpRequest& other) const {
        return operation == other.operation && mask == other.mask && lanes == other.lanes;
    }
};

struct Fiber {
    Context context;
    State state;
    WarpRequest request;
};

class FiberBlock {
  public:
    void run(const cupy_on_cpu::KernelDescription& description, void** arguments, bool reverse, const std::string& kernel);
    void pause(State state);  // called by the running thread
    bool is_running() const { return current_ != nullptr; }
    WarpRequest& request() { return current_->request; }

  private:
    static void thread_main();
    void run_ready_threads(bool reverse);
    bool finish_warp_operations();
    bool release_block_barrier();
    void answer(unsigned number);
    void check_mask(unsigned number) const;
    char* stack_of(unsigned number);

    std::vector<Fiber> fibers_{max_threads};
    char* stacks_ = nullptr;
    unsigned threads_ = 0;
    Fiber* current_ = nullptr;
    Context scheduler_;
    const cupy_on_cpu::KernelDescription* description_ = nullptr;
    void** arguments_ = nullptr;
    const std::string* kernel_ = nullptr;
};

FiberBlock block;  // one at a time, as one kernel runs at a time

char* FiberBlock::stack_of(unsigned number) {
    if (!stacks_) {  // pages become real only where a stack is used
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        stacks_ = (char*)mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    }
    return stacks_ + number * stack_bytes;
}

void FiberBlock::thread_main() {
    block.description_->run_thread(block.arguments_);
    block.pause(State::done);
}

void FiberBlock::pause(State state) {
    Fiber& self = *current_;
    self.state = state;
    Context::change(self.context, scheduler_);
}

void FiberBlock::run(const cupy_on_cpu::KernelDescription& description, void** arguments, bool reverse,
                     const std::string& kernel) {
    description_ = &description;
    arguments_ = arguments;
    kernel_ = &kernel;
    threads_ = blockDim.x * blockDim.y * blockDim.z;
    for (unsigned number = 0; number < threads_; ++number) {
        fibers_[number].context.prepare(stack_of(number), thread_main);
        fibers_[number].state = State::ready;
    }
    // Threads go as far as they can; then those that wait within a warp; a barrier of the block opens last.
    do run_ready_threads(reverse);
    while (finish_warp_operations() || release_block_barrier());
}

void FiberBlock::run_ready_threads(bool reverse) {
    for (unsigned i = 0; i < threads_; ++i) {
        const unsigned number = reverse ? threads_ - 1 - i : i;
        if (fibers_[number].state != State::ready) continue;
        current_ = &fibers_[number];
        cupy_on_cpu::select_thread(number);
        Context::change(scheduler_, current_->context);
    }
    current_ = nullptr;
}

bool FiberBlock::finish_warp_operations() {
    bool any = false;
    for (unsigned number = 0; number < threads_; ++number) {
        if (fibers_[number].state != State::at_warp_operation) continue;
        check_mask(number);
        answer(number);
        any = true;
    }
    for (unsigned number = 0; number < threads_; ++number)
        if (fibers_[number].state == State::at_warp_operation) fibers_[number].state = State::ready;
    return any;
}

// Gives the thread what the others of its warp, those that wait at the same operation, have brought.
void FiberBlock::answer(unsigned number) {
    WarpRequest& request = fibers_[number].request;
    const unsigned first = number / request.lanes * request.lanes;
    uint64_t votes = 0;
    request.result = request.value;  // a shuffle from a lane that is not there: undefined on a GPU
    for (unsigned lane = 0; lane < request.lanes && first + lane < threads_; ++lane) {
        const Fiber& other = fibers_[first + lane];
        if (other.state != State::at_warp_operation || !request.same_group(other.request)) continue;
        votes |= other.request.value << lane;
        if (lane == request.source_lane) request.result = other.request.value;
    }
    if (request.operation == cupy_on_cpu::warp_vote) request.result = votes;
}

void FiberBlock::check_mask(unsigned number) const {
    const WarpRequest& request = fibers_[number].request;
    const unsigned first = number / request.lanes * request.lanes;
    for (unsigned lane = 0; lane < request.lanes && first + lane < threads_; ++lane) {
        const Fiber& other = fibers_[first + lane];
        const bool named = request.mask >> lane & 1;
        if (!named || other.state == State::done) continue;
        if (other.state == State::at_warp_operation && request.same_group(other.request)) continue;
        fprintf(stderr, "fakehip: %s: lane %u is in the mask of a warp operation but does not take part in it\n",
                kernel_->c_str(), lane);
        return;
    }
}

bool FiberBlock::release_block_barrier() {
    bool any = false;
    for (unsigned number = 0; number < threads_; ++number) {
        if (fibers_[number].state != State::at_block_barrier) continue;
        fibers_[number].state = State::ready;
        any = true;
    }
    return any;
}

void require_fibers() {
    if (block.is_running()) return;
    fputs("fakehip: a barrier in a kernel whose source shows none (is it hidden in a header?)\n", stderr);
    abort();
}

}  // namespace

void run_block_of_fibers(const cupy_on_cpu::KernelDescription& description, void** arguments, bool reverse,
                         const std::string& kernel) {
    block.run(description, arguments, reverse, kernel);
}

// ---- called by kernels, see launch.h

FAKEHIP_API void cupy_on_cpu_block_barrier() {
    require_fibers();
    block.pause(State::at_block_barrier);
}

FAKEHIP_API uint64_t cupy_on_cpu_warp(WarpOperation operation, uint64_t mask, unsigned lanes, uint64_t value,
                                      unsigned source_lane) {
    require_fibers();
    WarpRequest& request = block.request();
    request = {operation, mask, lanes, value, source_lane, 0};
    block.pause(State::at_warp_operation);
    return request.result;
}
