package io.duebus.driver;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** Writes lines. Safe for many threads. */
final class Output {
    private final Gson gson = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    private final PrintStream stream;

    Output(PrintStream stream) {
        this.stream = stream;
    }

    void answer(long id, Object result) {
        write(Map.of("id", id, "result", result));
    }

    void error(long id, Throwable thrown) {
        write(Map.of("id", id, "error", Lines.error(thrown)));
    }

    /** The rest is names and values in turn; values may be null. */
    void event(String event, String kind, String name, Object... fields) {
        var line = new LinkedHashMap<String, Object>();
        line.put("event", event);
        line.put(kind, name);
        for (int i = 0; i < fields.length; i += 2) {
            line.put((String) fields[i], fields[i + 1]);
        }
        write(line);
    }

    private synchronized void write(Object line) {
        byte[] bytes = (gson.toJson(line) + "\n").getBytes(StandardCharsets.UTF_8);
        stream.write(bytes, 0, bytes.length);
        stream.flush();
    }
}
