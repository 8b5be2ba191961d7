-- The loader puts this after moved.lua, in scripts whose keys are those of "every group".
--
-- Such a script touches the keys of every group of the topic. `ALL_GROUPS` has their names. Where keys must be
-- declared (KEYS has more than one), the caller declares those of the groups that it knows. If the topic has others,
-- the script answers with the names of all groups before it writes anything, and is called again.
local ALL_GROUPS, LASTING_GROUPS = {}, 0
local kinds = redis.call('HGETALL', topic_key('groups'))
for i = 1, #kinds, 2 do
  ALL_GROUPS[#ALL_GROUPS + 1] = kinds[i]
  if kinds[i + 1] == LASTING then
    LASTING_GROUPS = LASTING_GROUPS + 1
  end
end
if #KEYS > 1 then
  local declared = {}
  for first = TOPIC_KEY_COUNT + 1, #KEYS, GROUP_KEY_COUNT do
    declared[KEYS[first]] = true
  end
  for _, group in ipairs(ALL_GROUPS) do
    if not declared[group_key(group, 'waiting')] then
      return 'groups\0' .. table.concat(ALL_GROUPS, '\0')
    end
  end
end
