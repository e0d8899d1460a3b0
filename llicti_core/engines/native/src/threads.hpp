// The threads of one call: they run independent tasks together, run after run, and end early when the caller wants to.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace llicti {

// Thrown in every thread of a call that is to end early.
struct Interrupted {};

// Whether a call is to end early. The thread that makes one, the caller's, asks now and then; all are told.
class Interruption {
public:
    // wanted: called on the caller's thread alone, at most every kPeriod.
    explicit Interruption(std::function<bool()> wanted) : wanted_(std::move(wanted)) {}

    // To be called by every thread at least every few milliseconds of work. Throws Interrupted.
    void check() {
        if (std::this_thread::get_id() == caller_) {
            const auto now = std::chrono::steady_clock::now();
            if (now >= next_) {
                next_ = now + kPeriod;
                if (wanted_()) interrupted_ = true;
            }
        }
        if (interrupted_) throw Interrupted();
    }

    static constexpr std::chrono::milliseconds kPeriod{50};

private:
    const std::thread::id caller_ = std::this_thread::get_id();
    const std::function<bool()> wanted_;
    std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + kPeriod;
    std::atomic<bool> interrupted_{false};
};

// Threads live as long as the pool does, which is one call from Python, so that the process can fork between calls.
// A pool waits for its next run in a loop for some microseconds, and only then asks to be woken: runs follow each other
// closely while a file is decoded, and waking takes as long as a small band does.
class ThreadPool {
public:
    ThreadPool(int threads, Interruption& interruption) : interruption_(interruption) {
        try {
            for (int i = 1; i < threads; i++) helpers_.emplace_back([this] { help(); });
        } catch (const std::system_error&) {
            // No more threads to be had: those that there are do the work.
        }
    }

    ~ThreadPool() {
        start(nullptr, 0);
        for (std::thread& helper : helpers_) helper.join();
    }

    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return int(helpers_.size()) + 1; }

    // For tasks that take long; see Interruption.
    void check_interruption() { interruption_.check(); }

    // Calls task(0) ... task(count - 1); rethrows the first exception when all have ended. Where the work is `light`,
    // it is done by the caller alone.
    void run(int count, const std::function<void(int)>& task, bool light = false) {
        if (light || helpers_.empty() || count <= 1) {
            for (int i = 0; i < count; i++) {
                check_interruption();
                task(i);
            }
            return;
        }
        start(&task, count);
        work(task);
        wait_for_helpers();
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

private:
    void start(const std::function<void(int)>* task, int count) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            task_ = task;
            count_ = count;
            next_ = 0;
            busy_ = int(helpers_.size());
            run_++;
        }
        started_.notify_all();
    }

    void help() {
        for (int seen = 0;;) {
            wait(started_, [this, seen] { return run_ != seen; });
            seen++;
            if (!task_) return;
            work(*task_);
            bool last;
            {
                const std::lock_guard<std::mutex> lock(mutex_);
                last = --busy_ == 0;
            }
            if (last) finished_.notify_one();
        }
    }

    void work(const std::function<void(int)>& task) {
        try {
            for (int i; (i = next_++) < count_;) {
                check_interruption();
                task(i);
            }
        } catch (...) {
            fail();
        }
    }

    // Keep the exception in flight for the caller, and start no more tasks.
    void fail() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
        next_ = count_;
    }

    // The caller has no task left, but asks on whether to end early.
    void wait_for_helpers() {
        const auto ready = [this] { return busy_ == 0; };
        while (!wait(finished_, ready, Interruption::kPeriod)) {
            try {
                check_interruption();
            } catch (...) {
                fail();
                wait(finished_, ready);
                return;
            }
        }
    }

    template <class Ready>
    void wait(std::condition_variable& condition, Ready ready) {
        while (!wait(condition, ready, std::chrono::hours(1))) {
        }
    }

    // Returns whether it got ready.
    template <class Ready>
    bool wait(std::condition_variable& condition, Ready ready, std::chrono::milliseconds longest) {
        for (int turn = 0; turn < 200; turn++) {
            if (ready()) return true;
            std::this_thread::yield();
        }
        std::unique_lock<std::mutex> lock(mutex_);
        return condition.wait_for(lock, longest, ready);
    }

    Interruption& interruption_;
    std::vector<std::thread> helpers_;
    std::mutex mutex_;
    std::condition_variable started_, finished_;
    std::atomic<int> run_{0}, busy_{0}, next_{0};
    const std::function<void(int)>* task_ = nullptr;
    int count_ = 0;
    std::exception_ptr failure_;
};

}  // namespace llicti
