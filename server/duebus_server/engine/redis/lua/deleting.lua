-- Shared by the scripts that delete groups and topics. Needs common.lua.

-- The sorted sets of a group: its copies of events, each in one of them.
local SETS = { 'waiting', 'leased', 'dead' }

-- Where a set of a deleted group waits for dispose.lua; deletions are numbered.
local function aside_key(number, name)
  return topic_key('deleted:' .. number .. ':' .. name)
end

-- Every key that a group may have.
local function keys_of(group)
  local keys = {}
  for _, name in ipairs({ 'waiting', 'leased', 'dead', 'records', 'sessions', 'in_flight', 'group' }) do
    keys[#keys + 1] = group_key(group, name)
  end
  local bucket = math.floor(now / BUCKET_US)
  for back = 0, math.ceil(RATES_LAST_S * 1000000 / BUCKET_US) do
    keys[#keys + 1] = group_key(group, 'rates:' .. whole(bucket - back))
  end
  return keys
end
