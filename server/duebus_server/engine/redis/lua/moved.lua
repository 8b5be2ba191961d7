-- The loader puts this after common.lua, unless a script says that it runs on closed partitions too.
--
-- A topic's `config` says how many partitions it has, and a partition's says whether it is open. A caller that assumes
-- something else gets an error before the script writes anything. See DATA_MODEL.md.
if TOPIC ~= '' then
  read_config(redis.call('HGETALL', topic_key('config')))
  if tonumber(CONFIG.partitions or 1) ~= PARTS then
    return 'moved'
  end
  read_gate(CONFIG.gate)
  if GATE > 0 and not IS_WHOLE then
    return 'gate'
  end
end
