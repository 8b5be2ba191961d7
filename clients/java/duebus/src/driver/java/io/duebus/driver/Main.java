package io.duebus.driver;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/**
 * The driver of the conformance suite: it carries out the runner's commands with this client. Its protocol is
 * tests/conformance/PROTOCOL.md.
 */
public final class Main {
    /** How long to wait at the end of input. */
    private static final long EXIT_WITHIN_MS = 4000;

    private Main() {}

    public static void main(String[] arguments) throws IOException, InterruptedException {
        var driver = new Driver(new Output(System.out));
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 16);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            driver.receive(line);
        }
        var closing = new Thread(driver::close);
        closing.setDaemon(true);
        closing.start();
        closing.join(EXIT_WITHIN_MS);
        System.exit(0); // threads of handlers that hold may be left
    }
}
