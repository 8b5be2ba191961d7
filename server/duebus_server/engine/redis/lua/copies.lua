-- Shared by the scripts that check whether Redis has lost a key of a group. Needs common.lua.

-- How many events a group holds.
local function copies_in(prefix, group)
  local count = 0
  for _, name in ipairs({ 'waiting', 'suspects', 'leased', 'dead', 'upcoming', 'blocked' }) do
    count = count + redis.call('ZCARD', group_key_of(prefix, group, name))
  end
  return HAS_PRIORITIES and count + redis.call('ZCARD', group_key_of(prefix, group, 'prioritized')) or count
end

-- Whether a set of a group has a mark if and only if its hash `group` has a field.
local function has_both(prefix, group, name, field)
  return (redis.call('ZSCORE', group_key_of(prefix, group, name), '') ~= false) == (field ~= false)
end

-- Whether the marks of a group's keys are there.
local function marks_add_up(prefix, group)
  local own = redis.call('HMGET', group_key_of(prefix, group, 'group'), 'keyed', 'closed', 'slotted')
  local has_mark = redis.call('HEXISTS', group_key_of(prefix, group, 'keys'), '') == 1
  return has_mark == (own[1] ~= false)
    and (not HAS_POLICIES or has_both(prefix, group, 'opens', own[2]) and has_both(prefix, group, 'slots', own[3]))
end

-- Whether each event of a group that is upcoming or blocked is in `by_key` too, and the group knows who blocks it.
local function keys_add_up(prefix, group)
  local blocked = redis.call('ZCARD', group_key_of(prefix, group, 'blocked'))
  local behind = blocked + redis.call('ZCARD', group_key_of(prefix, group, 'upcoming'))
  return behind == redis.call('ZCARD', group_key_of(prefix, group, 'by_key'))
    and marks_add_up(prefix, group)
end

-- Whether each event of a group that has a priority and waits has a rank.
local function ranks_add_up(prefix, group)
  return not HAS_PRIORITIES or redis.call('ZCARD', group_key_of(prefix, group, 'prioritized'))
    == redis.call('ZCARD', group_key_of(prefix, group, 'ranked'))
end

-- Whether a group that holds `copies` events has a set for each of its records and leases.
local function adds_up(prefix, group, copies)
  local leases = 0
  for _, count in ipairs(redis.call('HVALS', group_key_of(prefix, group, 'in_flight'))) do
    leases = leases + tonumber(count)
  end
  return leases == redis.call('ZCARD', group_key_of(prefix, group, 'leased'))
    and redis.call('HLEN', group_key_of(prefix, group, 'records')) <= copies
    and keys_add_up(prefix, group)
    and ranks_add_up(prefix, group)
end
