"""The style sheet of a report: light, dark, narrow and printed."""

__all__ = ["STYLE"]

STYLE = """
:root{--paper:#fff;--ground:#f3f5f7;--ink:#1b2026;--quiet:#55606c;--line:#d9dee4;
--accent:#005a96;--stripe:#f7f9fa;--note:#eef4f9;--warning:#fdf0e3;--warning-line:#b35a00}
@media screen and (prefers-color-scheme:dark){:root{--paper:#171a1f;--ground:#0d0f12;
--ink:#e6e9ed;--quiet:#a3adb8;--line:#343b44;--accent:#7cc0f2;--stripe:#1c2026;
--note:#18232d;--warning:#2e2114;--warning-line:#f0a24a}
figure img{filter:invert(1) hue-rotate(180deg) brightness(1.2)}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);line-height:1.5;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
overflow-wrap:anywhere;-webkit-text-size-adjust:100%}
header,main{max-width:66rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.2rem;margin:0 0 .6rem}
p{margin:.4rem 0;max-width:46rem}
.quiet,caption,figcaption{color:var(--quiet);font-size:.875rem}
section{background:var(--paper);border:1px solid var(--line);border-radius:.5rem;
padding:1rem 1.1rem;margin:1rem 0}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.8rem 0;font-size:.9rem}
nav a{padding:.15rem 0}
a{color:var(--accent)}
.facts{display:flex;flex-wrap:wrap;gap:.6rem;margin:.8rem 0}
.fact{background:var(--paper);border:1px solid var(--line);border-radius:.5rem;
padding:.45rem .8rem;min-width:7.5rem}
.fact dt{color:var(--quiet);font-size:.8rem}
.fact dd{margin:0;font-size:1.15rem;font-variant-numeric:tabular-nums}
.caution{border-left:4px solid var(--accent);background:var(--note);padding:.5rem .8rem;
border-radius:0 .3rem .3rem 0}
.caution.warning{border-color:var(--warning-line);background:var(--warning)}
.scroll{overflow-x:auto;max-width:100%}
.row{display:flex;flex-wrap:wrap;gap:.5rem 2rem;align-items:flex-start}
.row>*{min-width:0;max-width:100%}
figure{margin:.5rem 0;min-width:0}
img{height:auto;display:block}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;
margin:.4rem 0}
caption{text-align:left;padding-bottom:.2rem}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);
vertical-align:top;white-space:nowrap}
th[scope=col]{color:var(--quiet);font-weight:600;vertical-align:bottom;white-space:normal;
overflow-wrap:normal}
th[scope=row],td.text,th.text{text-align:left;white-space:normal;max-width:24rem}
table{overflow-wrap:normal}
th:first-child{text-align:left;padding-left:0}
th[scope=row]{font-weight:500}
tr.marked th,tr.marked td{background:var(--note)}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--accent);font-size:.9rem}
@media (max-width:40rem){header,main{padding:0 .6rem}section{padding:.8rem .7rem}
h1{font-size:1.35rem}.fact{flex:1 1 8rem}th,td{padding:.25rem .5rem}
th[scope=row],td.text{max-width:13rem}}
@media print{body{background:#fff;font-size:10pt}nav{display:none}header,main{max-width:none}
section{border:0;padding:0;margin:1.2rem 0}h2{break-after:avoid}
figure,tr,.caution{break-inside:avoid}table{font-size:7.5pt}th,td{padding:1pt 4pt}
.scroll{overflow:visible}
figure img{width:auto!important;min-width:0!important;max-width:100%}}
"""
