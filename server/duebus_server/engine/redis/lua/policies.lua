-- Shared by the scripts that need the key policy or the limits of a group. Needs common.lua.
--
-- `config` of the topic and `group` of the group have each as a text of numbers. A group's own replaces the topic's.

-- Made when the first of them is called, as in ordering.lua.
local function make_policies()
  -- A rate as its sums need it: `window` is how far `tat` may be ahead of the clock, `lateness` how far behind. As in
  -- domain/rates.py.
  local function new_rate(events, per, burst)
    if events == 0 then
      return nil
    end
    local rate = { events = events, per = per }
    burst = burst > 0 and burst or math.max(1, math.floor(events * 100000 / per))
    rate.window = math.ceil(burst * per / events)
    rate.lateness = math.floor(math.ceil(per / events) / 2)
    return rate
  end

  -- `tat`, or now if it passed half a cost ago or earlier. One beyond the window is of another rate or clock, and does not
  -- count.
  local function base_of(rate, tat)
    return tat > now - rate.lateness and tat <= now + rate.window and tat or now
  end

  -- How many may begin now.
  local function rate_allows(rate, tat)
    return math.max(0, math.floor((now + rate.window - base_of(rate, tat)) * rate.events / rate.per))
  end

  -- `tat` after so many began. Even if those are more than the rate allows, as events that were let in before it was set,
  -- `tat` stays within the window, since one beyond it does not count.
  local function rate_begun(rate, tat, count)
    return math.min(base_of(rate, tat) + math.ceil(count * rate.per / rate.events), now + rate.window)
  end

  -- When the next may begin.
  local function rate_opens_at(rate, tat)
    return base_of(rate, tat) + math.ceil(rate.per / rate.events) - rate.window
  end

  -- How many may begin between `start` and `behind`, two times of which the second is not in the past.
  local function rate_allows_until(rate, tat, start, behind)
    local first = math.max(base_of(rate, tat), start)
    return math.max(0, math.floor((behind + rate.window - first) * rate.events / rate.per))
  end

  -- `tat` after `count` that began were released; 0 once it has passed.
  local function rate_refunded(rate, tat, count)
    local refunded = tat - count * math.floor(rate.per / rate.events)
    return refunded > now and refunded or 0
  end

  -- A setting that is in force: the group's own, or else the topic's; false if neither has it. `prefix` is that of the
  -- topic's keys.
  local function text_of(group, name, prefix)
    return redis.call('HGET', group_key_of(prefix, group, 'group'), name) or redis.call('HGET', prefix .. 'config', name)
  end

  -- Its numbers, or nil.
  local function numbers_of(group, name, prefix)
    local text = text_of(group, name, prefix)
    if text then
      local numbers = {}
      for number in string.gmatch(text, '%d+') do
        numbers[#numbers + 1] = tonumber(number)
      end
      return numbers
    end
  end

  -- The key policy of each group that was asked for.
  local key_policies = {}

  local function read_key_policy(group)
    local numbers = HAS_POLICIES and numbers_of(group, 'keys', ARGV[1])
    if not numbers or #numbers < 6 then
      return { slots = 1, holds = false, max_blocked = 0 }
    end
    local slots, events, per, burst, holds, max_blocked = unpack(numbers)
    return { slots = slots, rate = new_rate(events, per, burst), holds = holds == 1, max_blocked = max_blocked }
  end

  -- The key policy in force for a group: slots of each key (0: keys are ignored), rate or nil, whether a dead letter
  -- holds its key, and how many events of a key may be blocked (0: the default).
  local function key_policy(group)
    local policy = key_policies[group]
    if not policy then
      policy = read_key_policy(group)
      key_policies[group] = policy
    end
    return policy
  end

  -- The limits of a group as they are now: most leases at once (0: any number), rate or nil, `tat`, and until when a nack
  -- has paused the group. Only where `HAS_LIMITS`.
  local function read_limits(group, prefix)
    local numbers = numbers_of(group, 'limits', prefix or ARGV[1]) or { 0, 0, 1, 0 }
    local own = redis.call('HMGET', group_key_of(prefix or ARGV[1], group, 'group'), 'tat', 'paused_until')
    return {
      most = numbers[1],
      rate = new_rate(numbers[2], numbers[3], numbers[4]),
      tat = tonumber(own[1] or 0),
      paused_until = tonumber(own[2] or 0),
    }
  end

  -- Whether every delivery of a group counts for a limit.
  local function is_limited(group)
    local limits = HAS_LIMITS and read_limits(group)
    return limits and (limits.rate or limits.most > 0) or HAS_POLICIES and key_policy(group).rate
  end

  -- When the rate and a pause allow the next delivery; now or in the past if they do.
  local function limits_open_at(limits)
    return math.max(limits.paused_until, limits.rate and rate_opens_at(limits.rate, limits.tat) or 0)
  end

  local function is_at_most(group, limits)
    return limits.most > 0 and redis.call('ZCARD', group_key(group, 'leased')) >= limits.most
  end

  -- How many events may be leased now.
  local function room_under(group, limits)
    if limits.paused_until > now then
      return 0
    end
    local room = limits.rate and rate_allows(limits.rate, limits.tat) or NEVER
    if limits.most > 0 then
      room = math.min(room, limits.most - redis.call('ZCARD', group_key(group, 'leased')))
    end
    return math.max(0, room)
  end

  local function write_tat(group, tat)
    if tat > now then
      redis.call('HSET', group_key(group, 'group'), 'tat', whole(tat))
    else
      redis.call('HDEL', group_key(group, 'group'), 'tat')
    end
  end

  -- Counts so many deliveries that begin now.
  local function count_begun(group, limits, count)
    if limits.rate and count > 0 then
      limits.tat = rate_begun(limits.rate, limits.tat, count)
      write_tat(group, limits.tat)
    end
  end

  -- Counts back so many deliveries that were released.
  local function count_back(group, count)
    local limits = read_limits(group)
    if limits.rate and count > 0 then
      write_tat(group, rate_refunded(limits.rate, limits.tat, count))
    end
  end

  -- Pauses the group until then, at least.
  local function pause_group(group, until_us)
    open_gate(LIMITS)
    until_us = math.max(until_us, read_limits(group).paused_until)
    redis.call('HSET', group_key(group, 'group'), 'paused_until', whole(until_us))
  end

  -- When a group that has something READY at `due` can lease it: not before its limits allow it, and when it has as many
  -- leases as it may, only when one ends, which whatever ends it announces.
  local function due_under(group, limits, due)
    return is_at_most(group, limits) and NEVER or math.max(due, limits_open_at(limits))
  end

  return {
    text_of = text_of,
    new_rate = new_rate,
    rate_begun = rate_begun,
    rate_opens_at = rate_opens_at,
    rate_allows_until = rate_allows_until,
    rate_refunded = rate_refunded,
    key_policy = key_policy,
    read_limits = read_limits,
    is_limited = is_limited,
    limits_open_at = limits_open_at,
    is_at_most = is_at_most,
    room_under = room_under,
    count_begun = count_begun,
    count_back = count_back,
    due_under = due_under,
    pause_group = pause_group,
  }
end

local made_policies
local function policies()
  made_policies = made_policies or make_policies()
  return made_policies
end
