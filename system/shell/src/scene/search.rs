//! Search over the pages of Settings, in the language of the screen.

use super::words::Language;

/// A page that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The room to go to.
    pub room: &'static str,
    /// What it holds, in the language of the screen.
    pub title: &'static str,
    /// The page that it is on.
    pub place: &'static str,
}

struct Entry {
    room: &'static str,
    title: [&'static str; 3],
    place: [&'static str; 3],
    /// Other words for it, in all languages.
    words: &'static str,
}

const DISPLAY: [&str; 3] = ["Display", "显示", "Pantalla"];
const TIME: [&str; 3] = ["Time", "时间", "Hora"];
const NETWORK: [&str; 3] = ["Network", "网络", "Red"];
const SETTINGS: [&str; 3] = ["Settings", "设置", "Ajustes"];
const DEVICES: [&str; 3] = ["Devices", "设备", "Dispositivos"];
const UPDATE: [&str; 3] = ["Update", "更新", "Actualización"];
const ABOUT: [&str; 3] = ["About", "关于", "Información"];

const fn entry(
    room: &'static str,
    title: [&'static str; 3],
    place: [&'static str; 3],
    words: &'static str,
) -> Entry {
    Entry {
        room,
        title,
        place,
        words,
    }
}

const ENTRIES: &[Entry] = &[
    entry("display", DISPLAY, SETTINGS, "screen 屏幕"),
    entry(
        "display",
        ["Light and dark", "浅色与深色", "Claro y oscuro"],
        DISPLAY,
        "theme night day tema noche 主题 夜间",
    ),
    entry(
        "display",
        ["Accent", "强调色", "Color de acento"],
        DISPLAY,
        "colour color wallpaper fondo 颜色 壁纸",
    ),
    entry(
        "display",
        ["Text size", "文字大小", "Tamaño del texto"],
        DISPLAY,
        "font large letra fuente 字体 字号",
    ),
    entry(
        "display",
        ["Reduced motion", "减少动态效果", "Menos movimiento"],
        DISPLAY,
        "animation animación 动画",
    ),
    entry(
        "display",
        [
            "Screen goes off after",
            "自动熄屏",
            "La pantalla se apaga tras",
        ],
        DISPLAY,
        "sleep lock timeout reposo bloqueo 休眠 锁定",
    ),
    entry(
        "language",
        ["Language", "语言", "Idioma"],
        SETTINGS,
        "english español 中文 chinese spanish inglés chino",
    ),
    entry("time", TIME, SETTINGS, "clock date reloj fecha 时钟 日期"),
    entry(
        "zone",
        ["Time zone", "时区", "Zona horaria"],
        TIME,
        "city ciudad region 城市",
    ),
    entry("time", ["24 hours", "24 小时制", "24 horas"], TIME, "am pm"),
    entry(
        "time",
        ["Time servers", "时间服务器", "Servidores de hora"],
        TIME,
        "ntp",
    ),
    entry("network", NETWORK, SETTINGS, "internet cable ethernet"),
    entry(
        "network",
        ["Addresses", "地址", "Direcciones"],
        NETWORK,
        "ip dhcp gateway puerta de enlace 网关",
    ),
    entry(
        "network",
        ["Name servers", "域名服务器", "Servidores de nombres"],
        NETWORK,
        "dns",
    ),
    entry(
        "grants",
        [
            "Allowed and refused",
            "已允许与已拒绝",
            "Permitido y denegado",
        ],
        DEVICES,
        "grants permissions privacy permisos privacidad 权限 隐私 授权",
    ),
    entry(
        "storage",
        ["Storage", "存储", "Almacenamiento"],
        SETTINGS,
        "disk space disco espacio 磁盘 空间",
    ),
    entry(
        "services",
        ["Services", "服务", "Servicios"],
        SETTINGS,
        "programs sandbox memory restart programas memoria reiniciar 程序 沙盒 内存",
    ),
    entry(
        "about",
        ABOUT,
        SETTINGS,
        "information device version información dispositivo 信息 设备",
    ),
    entry("about", ["Name", "名称", "Nombre"], ABOUT, "rename cambiar"),
    entry(
        "about",
        ["Release", "版本", "Versión"],
        ABOUT,
        "edition kernel slot edición núcleo 内核",
    ),
    entry(
        "update",
        UPDATE,
        SETTINGS,
        "release version firmware upgrade versión 版本 升级",
    ),
    entry(
        "files",
        ["Files", "文件", "Archivos"],
        SETTINGS,
        "received send share download recibidos enviar compartir 接收 发送 下载",
    ),
    entry(
        "update-options",
        [
            "Automatic updates",
            "自动更新",
            "Actualizaciones automáticas",
        ],
        UPDATE,
        "night restart channel beta mirror noche reinicio canal réplica 夜间 重启 渠道 镜像",
    ),
    entry(
        "devices",
        DEVICES,
        SETTINGS,
        "family remove lost rename familia perdido 家庭 丢失",
    ),
    entry(
        "pairing",
        ["Add a device", "添加设备", "Añadir un dispositivo"],
        DEVICES,
        "pair pin code digits emparejar código 配对",
    ),
    entry(
        "paper",
        ["Paper phrase", "纸上助记词", "Frase en papel"],
        DEVICES,
        "words recovery seed backup palabras recuperar copia 单词 恢复 备份",
    ),
    entry(
        "restore",
        ["Restore a family", "恢复家庭", "Restaurar una familia"],
        DEVICES,
        "words recover paper phrase lost palabras recuperar frase papel 单词 助记词 丢失",
    ),
    entry(
        "about",
        ["Memory in use", "已用内存", "Memoria en uso"],
        ABOUT,
        "ram",
    ),
];

/// The pages that have every word of what was typed, those first whose title begins with it.
pub fn search(typed: &str, language: Language) -> Vec<Found> {
    let typed = typed.to_lowercase();
    let words: Vec<&str> = typed.split_whitespace().collect();
    if words.is_empty() {
        return Vec::new();
    }
    let pick = language.index();
    let mut found: Vec<Found> = ENTRIES
        .iter()
        .filter(|entry| {
            let text = format!("{} {}", entry.title.join(" "), entry.words).to_lowercase();
            words.iter().all(|word| text.contains(word))
        })
        .map(|entry| Found {
            room: entry.room,
            title: entry.title[pick],
            place: entry.place[pick],
        })
        .collect();
    found.sort_by_key(|found| !found.title.to_lowercase().starts_with(words[0]));
    found
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES, search};
    use crate::scene::navigation::ROOMS;
    use crate::scene::words::Language;

    #[test]
    fn every_result_leads_to_a_room_that_exists() {
        assert!(ENTRIES.iter().all(|entry| ROOMS.contains(&entry.room)));
    }

    #[test]
    fn words_of_any_language_find_and_the_screen_s_language_answers() {
        assert_eq!(search("text", Language::English)[0].title, "Text size");
        assert_eq!(search("时区", Language::Chinese)[0].room, "zone");
        assert_eq!(
            search("dns", Language::Spanish)[0].title,
            "Servidores de nombres"
        );
        assert_eq!(search("  ", Language::English), []);
        assert_eq!(search("teleport", Language::English), []);
    }
}
