-- Shared by the scripts that delete groups and topics. Needs common.lua.

-- The sorted sets of a group. Each of its copies of events is in one of them.
local SETS = { 'waiting', 'suspects', 'prioritized', 'leased', 'dead', 'upcoming', 'blocked' }

-- What `deleted` holds of a deletion: its name, and after it this mark if the group was ephemeral.
local WAS_EPHEMERAL = '/' .. EPHEMERAL

local function read_deletion(noted)
  local name, mark = string.match(noted, '^([^/]*)(.*)$')
  return name, mark == WAS_EPHEMERAL
end

-- Every key that a group may have.
local function keys_of(group)
  local keys = {}
  for i, name in ipairs(group_key_names()) do
    keys[i] = group_key(group, name)
  end
  return keys
end
