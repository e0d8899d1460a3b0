// A few threads that run independent tasks together, call after call.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace llicti {

// Threads live as long as the team does, which is one call from Python, so that the process can fork between calls.
// A team waits for its next run in a loop for some microseconds, and only then asks to be woken: runs follow each other
// closely while a file is decoded, and waking takes as long as a small band does.
class Team {
public:
    explicit Team(int threads) {
        try {
            for (int i = 1; i < threads; i++) helpers_.emplace_back([this] { help(); });
        } catch (const std::system_error&) {
            // No more threads to be had: those that there are do the work.
        }
    }

    ~Team() {
        start(nullptr, 0);
        for (std::thread& helper : helpers_) helper.join();
    }

    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return int(helpers_.size()) + 1; }

    // Calls task(0) ... task(count - 1); rethrows the first exception when all have ended. Where the work is `light`, it
    // is done by the caller alone.
    void run(int count, const std::function<void(int)>& task, bool light = false) {
        if (light || helpers_.empty() || count <= 1) {
            for (int i = 0; i < count; i++) task(i);
            return;
        }
        start(&task, count);
        work(task);
        wait(finished_, [this] { return busy_ == 0; });
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
            for (int i; (i = next_++) < count_;) task(i);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!failure_) failure_ = std::current_exception();
            next_ = count_;
        }
    }

    template <class Ready>
    void wait(std::condition_variable& condition, Ready ready) {
        for (int turn = 0; turn < 200; turn++) {
            if (ready()) return;
            std::this_thread::yield();
        }
        std::unique_lock<std::mutex> lock(mutex_);
        condition.wait(lock, ready);
    }

    std::vector<std::thread> helpers_;
    std::mutex mutex_;
    std::condition_variable started_, finished_;
    std::atomic<int> run_{0}, busy_{0}, next_{0};
    const std::function<void(int)>* task_ = nullptr;
    int count_ = 0;
    std::exception_ptr failure_;
};

}  // namespace llicti
