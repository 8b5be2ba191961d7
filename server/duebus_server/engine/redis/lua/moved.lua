-- The loader puts this after common.lua, unless a script says that it runs on closed partitions too.
--
-- A topic's `config` says how many partitions it has, and a partition's says whether it is open. A caller that assumes
-- something else gets an error before the script writes anything. See DATA_MODEL.md.
if TOPIC ~= '' then
  local own = redis.pcall('HMGET', topic_key('config'), 'partitions', 'gate')
  if not own.err and tonumber(own[1] or 1) ~= PARTS then
    return 'moved'
  end
  if not own.err and own[2] then
    read_gate(own[2])
  end
  if GATE > 0 and not IS_WHOLE then
    return 'gate'
  end
end
