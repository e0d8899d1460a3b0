// Runs independent tasks on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace llicti {

// Calls task(0) ... task(count - 1), on at most `threads` threads; rethrows the first exception when all have ended.
// Threads live no longer than the call, so that the process can fork between calls.
template <class Task>
void parallel_for(int count, int threads, Task task) {
    const int workers = std::min(count, threads);
    if (workers <= 1) {
        for (int i = 0; i < count; i++) task(i);
        return;
    }
    std::atomic<int> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
    const auto work = [&] {
        try {
            for (int i; (i = next++) < count;) task(i);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failure_mutex);
            if (!failure) failure = std::current_exception();
            next = count;
        }
    };
    std::vector<std::thread> helpers;
    try {
        for (int i = 1; i < workers; i++) helpers.emplace_back(work);
    } catch (const std::system_error&) {
        // No more threads to be had: those that there are do the work.
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace llicti
