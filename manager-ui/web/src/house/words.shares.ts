// Words of organisations with which a room is shared.

const en = {
  shares: {
    title: "Shared with",
    why: "People of other organisations see, enter or control this room where they hold that right. Only who manages rooms of both can share it.",
    none: "With nobody.",
    nothing: "nothing",
    fresh: "Share with an organisation",
    whom: "Organisation",
    make: "Share",
    ends: { may_view: "see it", may_join: "enter it", may_control: "control it" },
    change: "Change",
    changeOf: (name: string) => `Change what is shared with ${name}`,
    end: "End",
    endOf: (name: string) => `End sharing with ${name}`,
    ask: (name: string) => `Share this room no more with ${name}? Whoever is in it by that is put out.`,
    ended: "Shared no more.",
  },
  received: {
    title: "Shared with this organisation",
    why: "Others share these. Whoever answers for this organisation's rooms and terminals may end that.",
    account: "terminal",
    room: "room",
    from: (name: string) => `of ${name}`,
    end: "Decline",
    endOf: (what: string) => `Decline ${what}`,
    ask: (what: string) => `Have ${what} shared with this organisation no more? Only its own organisation can share it again.`,
    ended: "Shared with this organisation no more.",
  },
};

const zh: typeof en = {
  shares: {
    title: "共享给",
    why: "其他机构中持有相应权限的人员。只有同时管理双方会诊室者可以共享。",
    none: "未共享。",
    nothing: "无",
    fresh: "共享给机构",
    whom: "机构",
    make: "共享",
    ends: { may_view: "可查看", may_join: "可进入", may_control: "可控制" },
    change: "更改",
    changeOf: (name) => `更改与${name}的共享`,
    end: "取消共享",
    endOf: (name) => `取消共享：${name}`,
    ask: (name) => `取消与“${name}”共享此会诊室？凭此进入者将被移出。`,
    ended: "已取消共享。",
  },
  received: {
    title: "共享给本机构",
    why: "由其他机构共享。负责本机构会诊室和终端者可以谢绝。",
    account: "终端",
    room: "会诊室",
    from: (name) => `来自${name}`,
    end: "谢绝共享",
    endOf: (what) => `谢绝共享${what}`,
    ask: (what) => `不再接受“${what}”的共享？只有其所属机构可以重新共享。`,
    ended: "已谢绝共享。",
  },
};

export const shareWords = { en, zh };
