// What a new server is filled with to be looked at: hospitals, people of each role, rooms, and what goes wrong.

export const PASSWORD = "seven grey horses";

/** By a page of Playwright and the first administrator's link. Yields names of what is there, and `ask`. */
export async function fill(page, link) {
  const { origin, hash } = new URL(link);
  const ask = async (method, path, data) => {
    const answer = await page.request.fetch(`${origin}/api/v1${path}`, { method, headers: { origin }, data });
    if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.status() === 204 ? null : answer.json();
  };
  const root = { organisation: "华东区", login: "root", name: "王院长", password: PASSWORD };
  await ask("POST", "/setup", { secret: hash.slice(1), ...root });
  const { organisation: top } = await ask("GET", "/session");
  const organisation = async (parent, kind, name) => (await ask("POST", "/organisations", { parent, kind, name })).id;
  const hospital = await organisation(top, "hospital", "仁济医院");
  const other = await organisation(top, "hospital", "瑞金医院");
  await organisation(hospital, "department", "放射科");
  await organisation(other, "department", "上海交通大学医学院附属瑞金医院远程会诊与教学中心");
  await people(ask, top, hospital);
  const rooms = await fillRooms(ask, hospital, other);
  await ask("POST", "/accounts", { organisation: hospital, user: "or-1", name: "手术室一" });
  await ask("POST", "/accounts", { organisation: other, user: "teaching-hall-east-campus-2", name: "东院区二号示教室" });
  await trunks(ask, top);
  await webhooks(ask, top);
  const names = { hospital: "仁济医院", person: "李春", role: "值班", account: "or-1", trunk: "city", webhook: "医院信息系统" };
  return { ask, ...names, ...rooms };
}

async function people(ask, top, hospital) {
  const roles = { network_operator: "孙工", clinician: "李春", teacher: "周教授", student: "学生", auditor: "审计员", nobody: "新人" };
  for (const [login, name] of Object.entries(roles)) {
    const { id } = await ask("POST", "/people", { organisation: hospital, login, name, password: PASSWORD });
    const at = login === "network_operator" || login === "auditor" ? top : hospital;
    if (login !== "nobody") await ask("POST", `/people/${id}/grants`, { role: login, organisation: at });
  }
  await ask("POST", "/roles", { organisation: top, name: "值班", rights: ["rooms.view", "rooms.control", "rooms.join"] });
  const gone = await ask("POST", "/people", { organisation: hospital, login: "gone", name: "已离职", password: PASSWORD });
  await ask("PATCH", `/people/${gone.id}`, { disabled: true });
}

async function fillRooms(ask, hospital, other) {
  const room = (number, name, more) => ask("POST", "/rooms", { organisation: hospital, number, name, ...more });
  await room("3100", "多学科会诊", { guest_links: true });
  await room("3200", "病例讨论");
  await room("3300", "带密码的会诊", { guests: true, guest_pin: "471147" });
  await room("3400", "远程手术示教与疑难病例多学科联合讨论（每周三下午）");
  await ask("PUT", `/rooms/3100/shares/${other}`, { may_view: true, may_join: true, may_control: false });
  const expires_ms = Date.now() + 7 * 86400000;
  const invitation = async (name) => {
    const link = { expires_ms, name, max_uses: name ? 1 : 100 };
    return (await ask("POST", "/rooms/3100/guest-links", link)).path;
  };
  await invitation("张阿姨");
  return { busy: "3100", quiet: "3200", pin: "3300", ofFile: "3000", invitation: await invitation("陈先生"), open: await invitation(null) };
}

async function trunks(ask, top) {
  const trunk = { organisation: top, name: "city", address: "127.0.0.1:9", prefix: "9", register: true, user: "hospital", password: PASSWORD };
  await ask("POST", "/trunks", trunk);
}

/** One that nobody listens at: its messages are dead where the configuration retries once. */
async function webhooks(ask, top) {
  const hook = { organisation: top, name: "医院信息系统", url: "https://localhost:9/hooks", types: ["role.created", "meeting.began"] };
  await ask("POST", "/webhooks", hook);
  await ask("POST", "/roles", { organisation: top, name: "夜班", rights: ["rooms.view"] });
}
