package io.duebus.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** In this module, because the README uses Spring too. */
class ReadmeTest {
    private static final Pattern PROGRAM = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);

    /** Surefire names it there if the JVM was started with a jar that only refers to it. */
    private static final String CLASSPATH =
            System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));

    /** What the README leaves out. */
    private static final String WITH_STATEMENTS =
            """
            import io.duebus.*;
            import io.duebus.opentelemetry.*;
            import io.opentelemetry.api.GlobalOpenTelemetry;

            class Readme {
                void run() {
                    %s
                }
            }
            """;

    private static final String WITH_CLASS =
            """
            import io.duebus.*;
            import io.duebus.spring.*;
            import org.springframework.stereotype.Component;

            record Order(int id) {}

            %s
            """;

    @Test
    void theProgramsOfTheReadmeCompile(@TempDir Path folder) throws Exception {
        String readme = Files.readString(Path.of("../README.md"));
        List<String> programs = PROGRAM.matcher(readme).results().map(ReadmeTest::whole).toList();
        assertTrue(programs.size() >= 3, "the README has " + programs.size());
        for (String program : programs) {
            assertEquals("", errors(program, folder));
        }
    }

    private static String whole(MatchResult found) {
        String program = found.group(1);
        if (program.startsWith("import")) {
            return program;
        }
        return (program.startsWith("@") ? WITH_CLASS : WITH_STATEMENTS).formatted(program);
    }

    private static String errors(String program, Path folder) {
        var source = new SimpleJavaFileObject(URI.create("string:///Readme.java"), SimpleJavaFileObject.Kind.SOURCE) {
            @Override
            public CharSequence getCharContent(boolean ignoreEncodingErrors) {
                return program;
            }
        };
        var errors = new StringWriter();
        var options = List.of("-d", folder.toString(), "-proc:none", "-classpath", CLASSPATH);
        boolean compiles = ToolProvider.getSystemJavaCompiler()
                .getTask(errors, null, null, options, null, List.of(source))
                .call();
        return compiles ? "" : errors.toString();
    }
}
