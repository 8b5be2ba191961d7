-- Shared by the scripts that check whether Redis has lost a key of a group. Needs common.lua.

-- How many events a group holds.
local function copies_in(prefix, group)
  local count = 0
  for _, name in ipairs({ 'waiting', 'suspects', 'leased', 'dead' }) do
    count = count + redis.call('ZCARD', group_key_of(prefix, group, name))
  end
  return count
end

-- Whether a group that holds `copies` events has a set for each of its records and leases.
local function adds_up(prefix, group, copies)
  local leases = 0
  for _, count in ipairs(redis.call('HVALS', group_key_of(prefix, group, 'in_flight'))) do
    leases = leases + tonumber(count)
  end
  return leases == redis.call('ZCARD', group_key_of(prefix, group, 'leased'))
    and redis.call('HLEN', group_key_of(prefix, group, 'records')) <= copies
end
