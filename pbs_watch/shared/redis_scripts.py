"""The scripts that Redis runs for us, each on the hash of one address.  Pure."""

from __future__ import annotations

from hashlib import sha1

LARGEST = 64
"""Logins of one address that may be read at once: more than we ever put there are not ours."""

PUT = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and (kind ~= 'hash' or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6])) then
  redis.call('UNLINK', KEYS[1])
end
local old = redis.call('HGET', KEYS[1], ARGV[1])
local expires, login, service = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if old then
  local e, l, s = string.match(old, '^(%d+) (%d+) (.*)$')
  if e and tonumber(e) < 2^53 and tonumber(l) < 2^53 then
    if tonumber(e) > expires then expires = tonumber(e) end
    if tonumber(l) > login then login, service = tonumber(l), s end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f %s', expires, login, service))
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[5]) then
  local all, first, user = redis.call('HGETALL', KEYS[1]), nil, nil
  for i = 1, #all, 2 do
    local e = tonumber(string.match(all[i + 1], '^%d+')) or 0
    if e >= 2^53 then e = 0 end
    if not first or e < first then first, user = e, all[i] end
  end
  redis.call('HDEL', KEYS[1], user)
end
local time, left = redis.call('TIME'), redis.call('PTTL', KEYS[1])
local now, due = time[1] * 1000 + math.floor(time[2] / 1000), math.floor(expires / 1000)
if left < 0 or now + left < due then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', due))
end
return 1
"""
"""The later expiry wins, for the login and for the key; the earliest login makes room.

What is none of ours makes way."""

GET = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return {} end
return redis.call('HGETALL', KEYS[1])
"""
"""The logins of an address; nothing where the key is none of ours."""

NAMES = {script: sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (PUT, GET)}
"""By which the server knows the scripts."""
