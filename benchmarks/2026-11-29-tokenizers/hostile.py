# ruff: noqa: E501
"""Strings that tokenizers fall over: scripts, marks, controls, entities, wrong decodings, names of special tokens."""

_LINES = [
    "", " ", "   ", "\t\n\r", "\n\n a \n\n", "a", "A", "ß", "İstanbul", "ſtraße", "ŉ", "ǅ", "ﬁne ﬂow", "½ ¼ ²³", "①②③",
    "Å Å Å", "é é", "Ǻ", "ạ̈̇", "क्षि", "தமிழ் நாடு", "ภาษาไทย", "ພາສາລາວ", "မြန်မာ",
    "한국어 각", "日本語のテキスト", "中文字幕 测试", "𠮷野家", "𠀀𪜀", "ｆｕｌｌ ｗｉｄｔｈ！", "ｱｲｳ ガギ", "العربية ١٢٣", "עברית שלום",
    "فارسی ۱۲۳", "Ελληνικά ΣΑΣ ς", "Русский ёж", "ქართული", "አማርኛ", "ᏣᎳᎩ", "ᚠᚢᚦ", "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "☃",
    "a\u200bb", "a\u200cb\u200dc", "\ufeffbom", "a\u00adb", "a\u2060b", "\u202eabc\u202c", "a\u00a0b", "a\u2003b\u3000c", "\u2028line\u2029par",
    "a\u0085b", "a\u180eb", "\ufffd\ufffd", "\ue000", "\U000f0000", "\U0001d400\U0001d41a", "𝓗𝓮𝓵𝓵𝓸", "ⓐⓑⓒ", "㍿ ㎏", "K Ω",
    "it's don't we've I'm he'll they'd you're", "IT'S DON'T WE'VE", "’s ‘quoted’ “double”", "rock'n'roll", "''''", "....", "!!!???",
    "a-b_c/d\\e|f", "#hashtag @mention", "http://example.org/a?b=c&d=e#f", "user@example.org", "C++ C# .NET", "1,234.56", "3.14e-10",
    "0x1F", "50%", "$5 €5 £5 ¥5 ₹5", "H₂O CO₂", "x²+y³", "±∓×÷≠≤≥∞∑∫", "→←↑↓⇒", "™®©", "†‡§¶", "…", "—–-‑", "«guillemets»",
    "&amp; &lt;b&gt; &quot; &#39; &nbsp;", "&amp;amp;amp;", "&eacute; &#233; &#xe9;", "&notanentity; & alone", "<b>bold</b>", "<br/>",
    "schÃ¶n", "â€œquotedâ€\u009d", "donâ€™t", "Ã©tÃ©", "ÃƒÂ©", "l‚Äôhumanit√©", "Ð¿Ñ\x80Ð¸Ð²ÐµÑ‚",
    "<|startoftext|>", "a <|endoftext|> b", "<|ENDOFTEXT|>", "[CLS] a [SEP] b [PAD]", "[MASK]", "<s> a </s>", "<pad>", "<unk>", "<mask>",
    "</s>", "a</s>b", "▁a ▁b", "##ing", "Ġa", "a</w>", "\x00", "a\x00b", "\x01\x02\x1f\x7f", "\x80\x9f", "a" * 300, "é" * 300, "🎉" * 100,
    "word " * 100, "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4, "日本" * 80, "1" * 100, "!" * 200, " " * 500 + "end", "-" * 77,
    "A\n'll 11p223RF☆ho!!to?'d'd''d of a cat to-$''d.", "xa\u0303y x\xe3y", "lower newer", "a photo of a cat", "hello world!",
    "a diagram", "a dog", "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis", "Llanfairpwllgwyngyll", "ZZZzzz", "camelCaseWord",
    "a\u0301\u0302\u0303\u0304", "\u0301alone", "e\u20dd", "\u0bcd", "ﷺ", "ǆ ǉ ǌ", "Ⅷ ⅷ", "ĳ Ĳ", "ŀ Ŀ", "ﬀ ﬃ ﬆ", "\u1e9e", "\u0130\u0131", "ΐ", "ﬗ",
]  # fmt: skip
HOSTILE = list(dict.fromkeys(_LINES))
