-- Describes many topics or partitions, those for which nothing has to be brought up to date.
--
-- KEYS     of one of them. They are in different slots, so a cluster describes each with topic_info.lua
-- ARGV     1..5 as in common.lua
--   6...   the prefix of each
-- returns  {now, {queued, settings (false for none), groups} as in topic_info.lua, ...}: of as many as Redis can
--          describe without others having to wait, and of one at least. False in place of one that topic_info.lua has to describe, because it does
--          not exist, is closed, has leases that ran out or events with keys that have become due, or is damaged
-- includes records
-- includes policies
-- includes description

-- When it stops, in the units of `examined`.
local ENOUGH = 1500

-- The settings of a topic, as they are and by name.
local function settings_of(prefix)
  local flat, named = redis.call('HGETALL', prefix .. 'config'), {}
  for i = 1, #flat, 2 do
    named[flat[i]] = flat[i + 1]
  end
  return flat, named
end

-- The names of a topic's groups in order; the kind of each; and whether one is lasting.
local function groups_of(prefix)
  local flat, names, kinds, has_lasting = redis.call('HGETALL', prefix .. 'groups'), {}, {}, false
  for i = 1, #flat, 2 do
    names[#names + 1], kinds[flat[i]] = flat[i], flat[i + 1]
    has_lasting = has_lasting or flat[i + 1] == LASTING
  end
  table.sort(names)
  return names, kinds, has_lasting
end

local function exists(prefix, settings, config, names, queued)
  return #names > 0 or queued > 0 or #settings > (config.gate and 2 or 0)
    or redis.call('EXISTS', prefix .. 'events', prefix .. 'recent') > 0
end

local function describe(prefix)
  examined = examined + 5
  local settings, config = settings_of(prefix)
  read_gate(config.gate)
  local names, kinds, has_lasting = groups_of(prefix)
  local queued, groups = queued_in(prefix), {}
  local is_open = tonumber(config.partitions or 1) == partitions_in(prefix)
  if not is_open or not exists(prefix, settings, config, names, queued) then
    return false
  end
  if not has_lasting then
    table.insert(names, 1, '') -- what waits for the first lasting group
  end
  for _, name in ipairs(names) do
    local group = describe_group(prefix, name, kinds[name] == EPHEMERAL, true)
    if not group then
      return false
    end
    if name ~= '' or group[5] and group[5][1] + group[5][2] > 0 then
      groups[#groups + 1] = group
    end
  end
  return { queued, filled(settings), groups }
end

local found = { whole(now) }
for i = 6, #ARGV do
  local fine, description = pcall(describe, ARGV[i])
  found[#found + 1] = fine and description
  if examined >= ENOUGH then
    break
  end
end
return found
