-- The certificate of each SNI name for nginx with lua-nginx-module, without a reload.
--
-- At a name's first handshake a worker asks the reader over its Unix socket and keeps the parsed
-- pair. A handshake looks at the mirror's `.changes`, 40 a second at most: what changed is asked for
-- again. With the reader down, what a worker holds goes on, and the rest comes from the mirror's
-- files.
-- The name is checked and lower-cased before anything is done with it: it never reaches a path raw.

local ssl = require "ngx.ssl"
local lrucache = require "resty.lrucache"

local M = {}
local LOOK_SECONDS = 0.025
local ASK_AGAIN_SECONDS = 600
local NEGATIVE_SECONDS = 1
local MAX_PEM = 262144

local mirror, socket
local held = lrucache.new(20000)   -- name -> {certs, key, seen, at}
local absent = lrucache.new(5000)  -- apart, so that a flood of unknown names drops nobody
local changed = lrucache.new(5000) -- name or wildcard -> number of its last change
local seen, floor = 0, 0           -- the newest change that was read; what is below is stale
local recorded, MOST_RECORDED = 0, 4000
local newest_line, looked_at = nil, 0

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
  local file = io.open(mirror .. "/.changes", "rb")
  if not file then return end
  local first = file:read("*l")
  local rest = first ~= newest_line and file:read(MAX_PEM)
  file:close()
  if not first or first == newest_line then return end
  newest_line = first
  local newest, bottom = first:match("^(%d+) (%d+)$")
  newest, bottom = tonumber(newest), tonumber(bottom)
  if not newest or newest == seen then return end
  for number, name in (rest or ""):gmatch("(%d+) ([^\n]+)") do
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
  if length > 0 and not body then sock:close() return nil end
  sock:setkeepalive(60000, 16)
  local code = status:match("^HTTP/1%.1 (%d+)")
  if code == "200" and body then return "200", body end
  if code == "404" then return "404" end
  return nil
end

local function is_fresh(entry, name)
  if ngx.now() - entry.at > ASK_AGAIN_SECONDS then return false end
  if entry.checked == seen then return true end -- nothing at all changed since it was
  if entry.seen < floor then return false end
  local own, wild = changed:get(name), changed:get(entry.wild)
  if (own and own > entry.seen) or (wild and wild > entry.seen) then return false end
  entry.checked = seen
  return true
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

local function find(raw)
  local entry = raw and held:get(raw) -- what is held lies under clean names
  if entry and is_fresh(entry, raw) then return entry end
  local name = clean(raw)
  if not name then return nil end
  entry = held:get(name)
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

-- In ssl_certificate_by_lua_block: the handshake's certificate, or an alert for unknown names.
function M.serve()
  if ngx.now() - looked_at >= LOOK_SECONDS then
    looked_at = ngx.now()
    read_changes()
  end
  local entry = find(ssl.server_name())
  if not entry then return ngx.exit(ngx.ERROR) end
  ssl.clear_certs()
  assert(ssl.set_cert(entry.certs))
  assert(ssl.set_priv_key(entry.key))
end

return M
