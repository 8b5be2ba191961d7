package io.duebus.driver;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.duebus.v1.Engine;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** A JSON object of the runner. Absent and null fields have the empty value of their type. */
record Command(JsonObject json) {
    long id() {
        return has("id") ? json.get("id").getAsLong() : 0;
    }

    boolean has(String name) {
        return json.has(name) && !json.get(name).isJsonNull();
    }

    String text(String name) {
        return has(name) ? json.get(name).getAsString() : "";
    }

    boolean flag(String name) {
        return has(name) && json.get(name).getAsBoolean();
    }

    /** Null when it is absent. */
    Long number(String name) {
        return has(name) ? json.get(name).getAsLong() : null;
    }

    /** Null when it is absent. */
    Duration millis(String name) {
        return has(name) ? Duration.ofMillis(json.get(name).getAsLong()) : null;
    }

    /** A time since the Unix epoch; null when it is absent. */
    Instant moment(String name) {
        return has(name) ? Instant.ofEpochMilli(json.get(name).getAsLong()) : null;
    }

    byte[] bytes(String name) {
        return Base64.getDecoder().decode(text(name));
    }

    /** Without fields when it is absent. */
    Command object(String name) {
        return new Command(has(name) ? json.getAsJsonObject(name) : new JsonObject());
    }

    List<Command> objects(String name) {
        var found = new ArrayList<Command>();
        elements(name).forEach(each -> found.add(new Command(each.getAsJsonObject())));
        return found;
    }

    List<String> texts(String name) {
        var found = new ArrayList<String>();
        elements(name).forEach(each -> found.add(each.getAsString()));
        return found;
    }

    Map<String, String> map(String name) {
        var found = new LinkedHashMap<String, String>();
        if (has(name)) {
            json.getAsJsonObject(name).asMap().forEach((key, value) -> found.put(key, value.getAsString()));
        }
        return found;
    }

    Engine engine(String name) {
        return has(name) ? engineOf(text(name)) : Engine.ENGINE_UNSPECIFIED;
    }

    Engine[] engines(String name) {
        return texts(name).stream().map(Command::engineOf).toArray(Engine[]::new);
    }

    private Iterable<JsonElement> elements(String name) {
        return has(name) ? json.getAsJsonArray(name) : List.<JsonElement>of();
    }

    private static Engine engineOf(String name) {
        String full = "ENGINE_" + name.toUpperCase(Locale.ROOT);
        return Arrays.stream(Engine.values())
                .filter(each -> each.name().equals(full))
                .findFirst()
                .orElseThrow(() -> new DriverError("no engine is called " + name));
    }
}
