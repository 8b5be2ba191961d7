package io.duebus;

import java.time.Instant;
import java.util.List;

/**
 * When a rule fires.
 *
 * @param times nominal times; fewer than asked for if the rule ends first
 * @param description the rule in words
 */
public record SchedulePreview(List<Instant> times, String description) {}
