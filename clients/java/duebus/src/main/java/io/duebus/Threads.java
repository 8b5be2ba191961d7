package io.duebus;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** Threads that keep no process alive. */
final class Threads {
    private Threads() {}

    /** Runs tasks at their time, on one thread. After its shutdown, tasks are dropped. */
    static ScheduledThreadPoolExecutor timer(String name) {
        var timer = new ScheduledThreadPoolExecutor(1, named(name), new ThreadPoolExecutor.DiscardPolicy());
        timer.setRemoveOnCancelPolicy(true);
        return timer;
    }

    /**
     * As many threads as there are tasks at once; the callers limit their number. After its shutdown, tasks run on the
     * thread that submits them.
     */
    static ExecutorService pool(String name) {
        return new ThreadPoolExecutor(
                0,
                Integer.MAX_VALUE,
                30,
                TimeUnit.SECONDS,
                new SynchronousQueue<>(),
                named(name + "-"),
                (task, pool) -> task.run());
    }

    /** A thread for each task: a virtual one where Java has them, otherwise a platform thread. */
    static ExecutorService ofHandlers(String name) {
        try {
            return virtual(name);
        } catch (ReflectiveOperationException missing) { // before Java 21
            return pool(name);
        }
    }

    /** {@code Executors.newThreadPerTaskExecutor(Thread.ofVirtual().name(name, 1).factory())} */
    private static ExecutorService virtual(String name) throws ReflectiveOperationException {
        Class<?> builderType = Class.forName("java.lang.Thread$Builder");
        Object builder = Thread.class.getMethod("ofVirtual").invoke(null);
        builder = builderType.getMethod("name", String.class, long.class).invoke(builder, name + "-", 1L);
        var factory = (ThreadFactory) builderType.getMethod("factory").invoke(builder);
        return (ExecutorService) Executors.class
                .getMethod("newThreadPerTaskExecutor", ThreadFactory.class)
                .invoke(null, factory);
    }

    private static ThreadFactory named(String name) {
        var count = new AtomicInteger();
        return task -> daemon(name.endsWith("-") ? name + count.incrementAndGet() : name, task);
    }

    static Thread daemon(String name, Runnable task) {
        var thread = new Thread(task, name);
        thread.setDaemon(true);
        return thread;
    }
}
