-- LEASED -> removed, as in ack.lua; then READY -> LEASED, as in lease.lua, if all of these leases are settled.
--
-- KEYS     topic, group
-- ARGV     as in ack.lua; then as in lease.lua from 7 on
-- returns  {what ack.lua returns, what lease.lua returns}; the second is missing if nothing was leased because a lease
--          was not settled, and an empty array if Redis has refused one of the commands that lease
-- runs ack
-- runs lease

local settled, first = ack(ARGV), 9 + #ARGV[8] / 8
if #settled[3] > 0 then
  return { settled }
end
local arguments = { ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], unpack(ARGV, first) }
local is_done, leased = pcall(lease, arguments)
return { settled, is_done and leased or {} }
