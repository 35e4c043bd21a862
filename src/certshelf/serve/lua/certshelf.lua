-- The certificate of each SNI name for nginx with lua-nginx-module, without a reload.
--
-- At a name's first handshake a worker asks the reader over its Unix socket and keeps the parsed
-- pair. A timer looks at the mirror's `.changes` 40 times a second: what changed is asked for again.
-- With the reader down, what a worker holds goes on, and the rest comes from the mirror's files.
-- The name is checked and lower-cased before anything is done with it: it never reaches a path raw.

local ssl = require "ngx.ssl"
local lrucache = require "resty.lrucache"

local M = {}
local POLL_SECONDS = 0.025
local ASK_AGAIN_SECONDS = 600
local NEGATIVE_SECONDS = 1
local MAX_PEM = 262144

local mirror, socket
local held = lrucache.new(20000)   -- name -> {certs, key, seen, at}
local absent = lrucache.new(5000)  -- apart, so that a flood of unknown names drops nobody
local changed = lrucache.new(5000) -- name or wildcard -> number of its last change
local seen, floor = 0, 0           -- the newest change that was read; what is below is stale
local recorded, MOST_RECORDED = 0, 4000

-- Host name in lower case, or nil: letters, digits, inner hyphens, at least one dot, no IP address.
local function clean(name)
  if not name or #name > 253 then return nil end
  name = name:lower()
  if name:sub(-1) == "." then name = name:sub(1, -2) end
  if name:find("[^a-z0-9.-]") or name:find("..", 1, true) or name:find("^%.") or name:find("%.$")
     or name:find("%.%-") or name:find("%-%.") or name:find("^%-") or name:find("%-$")
     or name:find("^[0-9.]+$") then
    return nil
  end
  return name
end

local function wildcard(name)
  local dot = name:find(".", 1, true)
  return dot and "*" .. name:sub(dot)
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read(MAX_PEM)
  file:close()
  return text
end

local function parse(pem)
  if not pem then return nil end
  local certs = ssl.parse_pem_cert(pem)
  local key = ssl.parse_pem_priv_key(pem)
  if certs and key then return certs, key end
  return nil
end

local function read_changes()
  local text = read_file(mirror .. "/.changes")
  if not text then return end
  local newest, bottom = text:match("^(%d+) (%d+)\n")
  newest, bottom = tonumber(newest), tonumber(bottom)
  if not newest or newest == seen then return end
  for number, name in text:gmatch("\n(%d+) ([^\n]+)") do
    number = tonumber(number)
    if number > seen then
      changed:set(name, number)
      recorded = recorded + 1
    end
  end
  -- Changes were missed, the reader began anew, or `changed` would soon forget some: all are stale.
  if bottom > seen or recorded > MOST_RECORDED then
    floor, recorded = newest, 0
    changed:flush_all()
  end
  seen = newest
  absent:flush_all()
end

-- "200", pem | "404" | nil when the reader does not answer, or cannot say (503)
local function ask(name)
  local sock = ngx.socket.tcp()
  sock:settimeouts(500, 500, 2000)
  if not sock:connect("unix:" .. socket) then return nil end
  local sent = sock:send("GET /cert?server_name=" .. name .. " HTTP/1.1\r\nHost: reader\r\n\r\n")
  local status = sent and sock:receive("*l")
  if not status then sock:close() return nil end
  local length = 0
  while true do
    local line = sock:receive("*l")
    if not line then sock:close() return nil end
    if line == "" then break end
    length = tonumber(line:match("^[Cc]ontent%-[Ll]ength: (%d+)$")) or length
  end
  if length > MAX_PEM then sock:close() return nil end
  local body = length > 0 and sock:receive(length)
  sock:setkeepalive(60000, 16)
  local code = status:match("^HTTP/1%.1 (%d+)")
  if code == "200" and body then return "200", body end
  if code == "404" then return "404" end
  return nil
end

local function is_fresh(entry, name)
  if entry.seen < floor or ngx.now() - entry.at > ASK_AGAIN_SECONDS then return false end
  local own, wild = changed:get(name), changed:get(entry.wild)
  return not (own and own > entry.seen) and not (wild and wild > entry.seen)
end

local function keep(name, certs, key, at_seen)
  local entry = { certs = certs, key = key, seen = at_seen, at = ngx.now(),
                  wild = wildcard(name) or "" }
  held:set(name, entry)
  return entry
end

local function from_mirror(name)
  local wild = wildcard(name)
  local certs, key = parse(read_file(mirror .. "/" .. name .. ".pem"))
  if not certs and wild then
    certs, key = parse(read_file(mirror .. "/_" .. wild:sub(2) .. ".pem"))
  end
  return certs and keep(name, certs, key, -1) -- older than everything: the reader is asked again
end

local function find(name)
  local entry = held:get(name)
  if entry and is_fresh(entry, name) then return entry end
  if absent:get(name) then return nil end
  local at_seen = seen -- before asking: a change on the way makes the entry stale, never unseen
  local code, pem = ask(name)
  if code == "200" then
    local certs, key = parse(pem)
    if certs then return keep(name, certs, key, at_seen) end
    return entry
  end
  if code == "404" then
    held:delete(name)
    absent:set(name, true, NEGATIVE_SECONDS)
    return nil
  end
  if entry then
    entry.at, entry.seen = ngx.now() - ASK_AGAIN_SECONDS + NEGATIVE_SECONDS, at_seen
    return entry
  end
  return from_mirror(name)
end

-- In init_by_lua_block: certshelf.setup("/run/certshelf/mirror", "/run/certshelf/http.sock")
function M.setup(mirror_folder, reader_socket)
  mirror, socket = mirror_folder, reader_socket
end

-- In init_worker_by_lua_block.
function M.start_worker()
  read_changes()
  assert(ngx.timer.every(POLL_SECONDS, function(premature)
    if not premature then read_changes() end
  end))
end

-- In ssl_certificate_by_lua_block: the handshake's certificate, or an alert for unknown names.
function M.serve()
  local name = clean(ssl.server_name())
  local entry = name and find(name)
  if not entry then return ngx.exit(ngx.ERROR) end
  ssl.clear_certs()
  assert(ssl.set_cert(entry.certs))
  assert(ssl.set_priv_key(entry.key))
end

return M
