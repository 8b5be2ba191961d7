package io.duebus;

import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Stream;

/** Lists that the server sends page by page. */
final class Pages {
    private Pages() {}

    /**
     * All pages. One is fetched when the one before is read.
     *
     * @param fetch gets the page of a token; that of the first page is empty
     * @param next reads the token of the next page; empty after the last
     */
    static <P> Stream<P> of(Function<String, P> fetch, Function<P, String> next) {
        return Stream.iterate(fetch.apply(""), Objects::nonNull, last -> {
            String token = next.apply(last);
            return token.isEmpty() ? null : fetch.apply(token);
        });
    }
}
