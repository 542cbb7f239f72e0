// Streams hold work in order. Without FAKEHIP_LAZY they run it at once; with it, only when something makes them.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "memory.h"

struct Device;
using Task = std::function<void()>;

// What streams record between hipStreamBeginCapture and hipStreamEndCapture, in the order of the calls.
struct Capture {
    std::vector<Task> tasks;
};

class Stream : public std::enable_shared_from_this<Stream> {
  public:
    Stream(Device& device, bool blocking) : device(device), blocking(blocking) {}

    void submit(Task task);             // bookkeeping: an event's mark, a wait
    void submit_work(DeviceSet touches, Task task);  // reads or writes memory of these devices
    void wait_for(std::shared_ptr<Stream> other, long position);

    void run_until(long position);      // first `position` tasks are done afterwards
    void run_all() { run_until(submitted_); }

    // A question, "are you there yet?". Nobody may wait for questions to help, so work stays late; but who asks again and
    // again must see it finish at last, so from some number of questions on each lets one task run.
    bool ask_whether_completed(long position);

    long submitted() const { return submitted_; }
    bool has_completed(long position) const { return completed_ >= position; }
    bool is_idle() const { return completed_ == submitted_; }

    Device& device;
    const bool blocking;                // ordered with the null stream; false for non_blocking=True
    bool destroyed = false;             // by the program; it still finishes its work
    std::shared_ptr<Capture> capture;   // not null while capturing

  private:
    static constexpr int patience = 16;

    void follow_legacy_rules();
    void enqueue(Task task);

    std::deque<Task> pending_;
    long submitted_ = 0, completed_ = 0;
    int questions_ = 0;  // since the last task was submitted
};

// The stream behind a handle, or null if there is none. Handle 0 is the null stream of the current device.
std::shared_ptr<Stream> find_stream(void* handle);

bool a_capture_is_open(const Device& device);
void forget_destroyed_streams(std::vector<std::shared_ptr<Stream>>& streams);
