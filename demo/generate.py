#!/usr/bin/env python3
"""Writes demo/applications.ndjson: ten thousand synthetic citizen applications, the same on every run.

    python3 demo/generate.py > demo/applications.ndjson
"""

import datetime
import json
import random
import sys

SEED = 20260101
COUNT = 10_000

# County-level divisions of GB/T 2260: code and name.
DIVISIONS = {
    "北京市": "110101 东城区 110102 西城区 110105 朝阳区 110106 丰台区 110108 海淀区 110112 通州区 110114 昌平区",
    "天津市": "120101 和平区 120103 河西区 120104 南开区 120110 东丽区 120111 西青区 120116 滨海新区",
    "上海市": "310101 黄浦区 310104 徐汇区 310105 长宁区 310109 虹口区 310110 杨浦区 310112 闵行区 310115 浦东新区",
    "江苏省南京市": "320102 玄武区 320104 秦淮区 320105 建邺区 320106 鼓楼区 320113 栖霞区 320115 江宁区",
    "浙江省杭州市": "330102 上城区 330105 拱墅区 330106 西湖区 330108 滨江区 330109 萧山区 330110 余杭区",
    "湖北省武汉市": "420102 江岸区 420103 江汉区 420104 硚口区 420105 汉阳区 420106 武昌区 420111 洪山区",
    "广东省广州市": "440103 荔湾区 440104 越秀区 440105 海珠区 440106 天河区 440111 白云区 440113 番禺区",
    "广东省深圳市": "440303 罗湖区 440304 福田区 440305 南山区 440306 宝安区 440307 龙岗区 440308 盐田区",
    "重庆市": "500103 渝中区 500105 江北区 500106 沙坪坝区 500107 九龙坡区 500108 南岸区 500112 渝北区",
    "四川省成都市": "510104 锦江区 510105 青羊区 510106 金牛区 510107 武侯区 510108 成华区",
    "陕西省西安市": "610102 新城区 610103 碑林区 610104 莲湖区 610112 未央区 610113 雁塔区",
}

# What can be applied for, how often of a hundred, and where it goes.
KINDS = [
    (40, "civil-affairs", "identity-cards", "identity-card", ["first-issue", "renewal", "replacement"]),
    (35, "civil-affairs", "household-registry", "household-register", ["birth", "move-in", "move-out", "split"]),
    (25, "public-security", "driving-licences", "driving-licence", ["first-issue", "renewal", "class-change"]),
]

# Every name begins with the word for "sample", so that it can be nobody's.
GIVEN = "安邦博文承志德明恩泽芳菲桂华浩然佳音景行可心乐山敏学宁远平川清和如松思齐天佑维新晓光雅言永康语堂志远子衿"


def identity_number(dice, code, born):
    """Right in form, wrong in its check digit (GB 11643): never a person's number."""
    body = f"{code}{born:%Y%m%d}{dice.randrange(1000):03}"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    remainder = sum(int(digit) * weight for digit, weight in zip(body, weights)) % 11
    wrong = (remainder + dice.randrange(1, 11)) % 11
    return body + "10X98765432"[wrong]


def applications():
    dice = random.Random(SEED)
    divisions = []
    for above, listed in DIVISIONS.items():
        words = listed.split()
        divisions += [(code, above + name) for code, name in zip(words[::2], words[1::2])]
    weights = [kind[0] for kind in KINDS]
    first_day = datetime.datetime(2026, 1, 5, 8)
    for number in range(1, COUNT + 1):
        _, tenant, department, kind, actions = dice.choices(KINDS, weights)[0]
        code, division = dice.choice(divisions)
        born = datetime.date(1950, 1, 1) + datetime.timedelta(days=dice.randrange(20_000))
        at = dice.randrange(0, len(GIVEN), 2)
        yield {
            "application": f"{number:06}",
            "tenant": tenant,
            "department": department,
            "kind": kind,
            "action": dice.choice(actions),
            "name": "示例" + GIVEN[at : at + 2],
            "identity_number": identity_number(dice, code, born),
            "division_code": code,
            "division": division,
            "submitted": (first_day + datetime.timedelta(seconds=40 * number)).isoformat() + "+08:00",
        }


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    for application in applications():
        print(json.dumps(application, ensure_ascii=False, separators=(",", ":")))
