package io.duebus;

import java.io.Serializable;

/**
 * One wrong field.
 *
 * @param field its path, for example {@code events[3].delay}
 * @param description what is wrong with it
 */
public record FieldViolation(String field, String description) implements Serializable {}
