package io.duebus.testing;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/** {@code duebus serve --test-clock}, which ends when it is closed, or when this process does. */
final class ServerProcess implements AutoCloseable {
    private static final String COMMAND_VARIABLE = "DUEBUS_COMMAND";
    private static final long START_TIMEOUT_S = 30;
    private static final Pattern READY = Pattern.compile("duebus ready on (\\S+).*");
    private static final int LAST_LINES = 20;

    /**
     * The shell ends the server when its standard input is closed, so that no server outlives its test. A signal to the
     * whole process group, such as that of Ctrl-C, must not end the shell first.
     */
    private static final String RUN_UNTIL_CLOSED =
            "trap '' HUP INT QUIT TERM; \"$@\" </dev/null & exec >&- 2>&-; read -r _; kill -KILL \"$!\"; wait";

    private final Process process;
    private final String address;

    private ServerProcess(Process process, String address) {
        this.process = process;
        this.address = address;
    }

    static ServerProcess start() {
        return start(System.getenv().getOrDefault(COMMAND_VARIABLE, "duebus"));
    }

    static ServerProcess start(String command) {
        var builder = new ProcessBuilder(
                "sh", "-c", RUN_UNTIL_CLOSED, "sh",
                executable(command), "serve", "--test-clock", "--engine", "local", "--listen", "127.0.0.1:0");
        // Settings of the server in the environment of the tests do not count.
        builder.environment().keySet().removeIf(name -> name.startsWith("DUEBUS_"));
        try {
            var process = builder.start();
            return new ServerProcess(process, readyAddress(process));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    String address() {
        return address;
    }

    @Override
    public void close() {
        end(process);
    }

    private static String readyAddress(Process process) {
        Deque<String> lines = new ConcurrentLinkedDeque<>();
        var address = new CompletableFuture<String>();
        var errors = read(process.getErrorStream(), lines, new CompletableFuture<>());
        read(process.getInputStream(), lines, address).whenComplete((done, error) -> errors.thenRun(
                () -> address.completeExceptionally(new IllegalStateException(problem(lines)))));
        try {
            return address.get(START_TIMEOUT_S, TimeUnit.SECONDS);
        } catch (Exception error) {
            end(process);
            throw error.getCause() instanceof IllegalStateException ended
                    ? ended
                    : new IllegalStateException(problem(lines), error);
        }
    }

    private static String problem(Deque<String> lines) {
        return "duebus serve did not start: " + String.join("\n", lines);
    }

    /** Reads lines until the end. The future completes with the end. */
    private static CompletableFuture<Void> read(
            InputStream stream, Deque<String> lines, CompletableFuture<String> address) {
        var ended = new CompletableFuture<Void>();
        var thread = new Thread(
                () -> {
                    try (var reader = new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
                        for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                            note(line, lines, address);
                        }
                    } catch (IOException closed) {
                        lines.add(String.valueOf(closed.getMessage()));
                    } finally {
                        ended.complete(null);
                    }
                },
                "duebus-server-output");
        thread.setDaemon(true);
        thread.start();
        return ended;
    }

    private static void note(String line, Deque<String> lines, CompletableFuture<String> address) {
        var ready = READY.matcher(line);
        if (ready.matches()) {
            address.complete(ready.group(1));
        }
        lines.add(line);
        if (lines.size() > LAST_LINES) {
            lines.poll();
        }
    }

    private static void end(Process process) {
        try {
            process.getOutputStream().close();
            process.waitFor();
        } catch (IOException gone) {
            process.destroy();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static String executable(String command) {
        boolean isPath = command.contains(File.separator);
        var folders = isPath ? List.of("") : List.of(System.getenv().getOrDefault("PATH", "").split(File.pathSeparator));
        return folders.stream()
                .map(folder -> isPath ? new File(command) : new File(folder, command))
                .filter(each -> each.isFile() && each.canExecute())
                .map(File::getPath)
                .findFirst()
                .orElseThrow(() -> new IllegalStateException(
                        "the command %s is missing: pip install 'duebus[server]', or name it in %s"
                                .formatted(command, COMMAND_VARIABLE)));
    }
}
